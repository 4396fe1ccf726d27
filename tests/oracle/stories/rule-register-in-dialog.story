# A PBX that is no proxy relays a REGISTER with a To-tag along its Route, by TCP. The friend accepts it.
Setup responses=Rport rport relays_registers
Register
Restart
PbxCall to=Trunk
Attack method=Register to_tag=Invented party=Victim contact=Victim route=Unseen
PbxCall
