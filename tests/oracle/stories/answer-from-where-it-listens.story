# A phone sends from one port, and listens at another, from which it answers. The second transmission went to the first one. The
# phone is there: the next call goes to where it listens, though it comes within T1.
Setup
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxRepeat
Pickup who=Public
PbxCall to=Public
