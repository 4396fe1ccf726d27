# A phone sends from another port than the one at which it listens. It repeats its call after half an hour: the PBX answers with
# another tag, and then sends the answer of before again. Neither is a repetition of the other.
Setup
Call who=Public to=Trunk
Wait pause=HalfHour
Repeat who=Public
Repeat who=Public
Repeat who=Public
PbxAgain which=1
