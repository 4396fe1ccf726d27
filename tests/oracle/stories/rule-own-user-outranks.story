# An account registers the victim's Contact URI for itself. The victim has the better claim, and is still reached.
Setup responses=Rport rport uri_in_to
Register
Attack method=Register credentials contact=Victim call=13
PbxCall
Wait pause=HalfSecond
PbxRepeat
