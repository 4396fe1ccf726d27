# Another socket of the host, which is no proxy, accepts a contact with the gateway's address.
Setup responses=Rport rport settled same_address
Register
Attack by=Local method=Invite
Attack method=Register credentials call=13 other_socket
Wait pause=Second
PbxCall to=Number
Wait pause=HalfSecond
PbxRepeat
