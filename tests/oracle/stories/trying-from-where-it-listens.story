# A phone sends from one port, and listens at another, from which it sends 100. That proves nothing of the first one, though the
# second transmission went there.
Setup
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxRepeat
Pickup who=Public trying
Wait pause=Second
PbxCall to=Public
