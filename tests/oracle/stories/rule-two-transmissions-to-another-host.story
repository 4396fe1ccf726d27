# A carrier's Contact is another host than the one that calls. A request of the PBX in the call is lost, and sent again: the host that
# called would refuse it.
Setup public=Front
Call who=Public to=Trunk
Wait pause=Second
Behave who=Public mood=Silent
PbxInner method=Info
Wait pause=HalfSecond
Behave who=Public
PbxRepeat
