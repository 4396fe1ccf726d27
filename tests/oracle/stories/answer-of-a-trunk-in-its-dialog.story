# A private trunk subscribes, and answers the PBX's NOTIFY, so it is there. Then it is silent. An account that has registered its
# Contact URI gets none of its calls.
Setup uri_in_to trunk=Private settled
Subscribe who=Trunk
Behave who=Trunk mood=Silent
Attack credentials contact=Trunk
PbxCall to=Trunk
PbxRepeat
