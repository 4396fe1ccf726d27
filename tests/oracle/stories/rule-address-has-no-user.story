# The same, and only the other phone's Contact has the user of its account: nothing follows for the address.
Setup responses=Rport rport settled same_address other_user
Register
PbxCall to=Trunk
Attack method=Register credentials call=13
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
