# A phone sends and answers from another port than the one at which it listens. Its slow answer seems to be one to the second
# transmission. It repeats its 200 until an ACK arrives.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
Wait pause=HalfSecond
PbxRepeat
Pickup who=Public
Wait pause=HalfSecond
Again who=Public
Wait pause=HalfSecond
Again who=Public
Wait pause=HalfSecond
Again who=Public
