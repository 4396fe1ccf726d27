# A public phone gets the first transmission of a call, though the call half a second before has drawn no answer yet.
Setup
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
Behave who=Public
Wait pause=Tenth
PbxCall to=Public
