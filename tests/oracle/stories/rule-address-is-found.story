# A gateway behind NAT registers. The PBX calls a number behind it at its address, with another user.
Setup responses=Rport rport settled
Register
Wait pause=Second
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
