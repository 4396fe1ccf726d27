# A PBX writes the Contact URI into To. An account has that of a trunk, which is silent. The call of the account itself is like one
# of the trunk: it proves that the account answers, until the trunk does.
Setup responses=Rport settled trunk=Private uri_in_to
Behave who=Trunk mood=Silent
Attack method=Register credentials contact=Trunk call=13
PbxCall to=Account
Wait pause=HalfSecond
PbxRepeat
Behave who=Trunk
Wait pause=Five
PbxCall to=Trunk
