# A PBX that is no proxy sends a REGISTER on by TCP. The friend accepts it, where sipnat sees that.
Setup responses=Rport rport relays_registers
Register
Restart
PbxCall to=Trunk
Behave who=Friend mood=Silent
Attack method=Register credentials party=Victim contact=Victim target=Friend call=13 route=Unseen
Slip status=Ok seen
PbxCall
