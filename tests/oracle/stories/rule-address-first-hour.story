# sipnat has started again. The gateway has not registered since, another phone with its address has.
Setup responses=Rport rport same_address
Register
Restart
PbxCall to=Trunk
Attack method=Register credentials call=13
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
