# An account has the trunk's Contact URI, and answers calls to that while the trunk is silent. It has proven nothing for
# another number of the trunk.
Setup responses=Rport settled trunk=Private uri_in_to
Behave who=Trunk mood=Silent
Attack method=Register credentials contact=Trunk call=13
PbxCall to=Account
Wait pause=HalfSecond
PbxRepeat
Attack method=Register credentials contact=Trunk call=13 cseq=1
Behave who=Trunk
PbxCall to=TrunkNumber
