# A phone sends from another port than the one at which it listens, and answers late from there. Which of two transmissions it
# answers, nobody knows: the next call goes to where it listens.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
Wait pause=HalfSecond
PbxRepeat
Wait pause=HalfSecond
Pickup who=Public
Behave who=Public
Register who=Public
PbxCall to=Public
