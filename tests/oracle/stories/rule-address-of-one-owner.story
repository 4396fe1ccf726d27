# Another phone has the gateway's private address, in another private network. A number at that address names none of them.
Setup responses=Rport rport settled same_address
Register
PbxCall to=Trunk
Attack method=Register credentials call=13
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
