# A PBX that is no proxy relays a REGISTER for the victim by TCP, to the friend, who accepts it. The victim's host comes first.
Setup responses=Rport rport relays_registers
Register
PbxCall to=Trunk
Attack method=Register credentials party=Victim contact=Victim target=Friend call=13 route=Unseen
PbxCall
