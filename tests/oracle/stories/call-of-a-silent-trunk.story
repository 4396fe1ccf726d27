# A PBX writes the Contact URI into To. An account has that of a trunk, which is silent, and answers for it. A call of the trunk
# that it does not acknowledge may be forged, and ends that no more than any other.
Setup uri_in_to trunk=Private settled
Behave who=Trunk mood=Silent
Attack credentials contact=Trunk
PbxCall to=Trunk
PbxRepeat
Call who=Trunk
PbxOptions to=Trunk
