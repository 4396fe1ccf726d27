# A phone sends and answers from another port than the one at which it listens. Its slow answer seems to be one to the second
# transmission. It answers the next call from there, too, though only its other port got it: it is not there.
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
Wait pause=HalfSecond
PbxRepeat
Pickup who=Public refuse
Wait pause=Five
PbxCall to=Public
