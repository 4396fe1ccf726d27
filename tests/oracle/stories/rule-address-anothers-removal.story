# Another phone removes a contact with the gateway's private address.
Setup responses=Rport rport settled same_address
PbxCall to=Trunk
Register
Attack method=Register credentials call=13 contact=OwnExpires
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
