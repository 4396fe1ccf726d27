# Another phone had the gateway's private address, and has removed its contact.
Setup responses=Rport rport settled same_address
PbxCall to=Trunk
Attack method=Register credentials call=13
Attack method=Register credentials call=13 cseq=1 contact=OwnExpires
Register
Wait pause=Second
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
