# A phone with two ports answers a call half an hour later. sipnat takes that for no answer, as it has waited for five minutes.
Setup
Register who=Public
Behave who=Public mood=Trying
PbxCall to=Public
Wait pause=HalfHour
Pickup who=Public
Subscribe who=Public
