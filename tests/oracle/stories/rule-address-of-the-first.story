# Another phone had the gateway's private address first. That gives it nothing.
Setup responses=Rport rport settled same_address
PbxCall to=Trunk
Attack method=Register credentials call=13
Register
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
