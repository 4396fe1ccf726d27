# A phone with two ports only seemed to be at the one from which it sends. Two calls in one moment go to where it listens.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
Wait pause=HalfSecond
PbxRepeat
Pickup who=Public refuse
Wait pause=Five
PbxCall to=Public
Wait pause=HalfSecond
PbxRepeat
Wait pause=HalfSecond
Pickup who=Public refuse
Wait pause=Five
PbxCall to=Public
PbxCall to=Public
