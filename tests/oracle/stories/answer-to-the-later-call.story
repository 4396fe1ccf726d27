# A phone repeats a call after half an hour: the PBX takes it for another one, and repeats only the answer to that.
Setup
Call who=Public
Wait pause=HalfHour
Repeat who=Public
Repeat who=Public
PbxAgain which=1
