# The neighbour at the victim's Contact refuses, as one who does not know the user. That does not count for the victim.
Setup responses=Rport rport victim=Alg owns_5060
Register
Behave who=Neighbour mood=Slow
PbxCall
Forge by=Neighbour status=Gone
