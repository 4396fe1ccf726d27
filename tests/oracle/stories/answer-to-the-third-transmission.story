# The request began where the phone listens, since one before it was not answered. Its answer comes after the third transmission.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxRepeat
Pickup who=Public
Wait pause=Five
PbxCall to=Public
Wait pause=Five
PbxCall to=Public
PbxRepeat
PbxRepeat
Pickup who=Public
