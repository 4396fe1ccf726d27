# An account with the victim's user in another domain removes the victim's Contact URI for itself. The victim is still reached.
Setup responses=Rport rport uri_in_to tenant
Register
PbxCall to=Trunk
Attack method=Register credentials contact=VictimExpires call=13
PbxCall
Wait pause=HalfSecond
PbxRepeat
