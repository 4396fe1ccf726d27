# Two requests were open. One had two transmissions to where the phone listens, one to the other port, and one back again.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxCall to=Public
PbxRepeat
Pickup who=Public
PbxRepeat
PbxRepeat
PbxRepeat
Pickup who=Public
