# An account registers the trunk's address. Another number of the trunk is called there first.
Setup responses=Rport settled trunk=Private
PbxCall to=Trunk
Wait pause=Day
Attack method=Register credentials contact=Trunk call=13
PbxCall to=TrunkNumber
