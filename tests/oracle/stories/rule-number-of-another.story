# An account registers a number behind the gateway, with the gateway's private address.
Setup responses=Rport rport settled same_address claims_number
Register
PbxCall to=Trunk
Attack method=Register credentials call=13
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
