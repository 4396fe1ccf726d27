# An account has the victim's Contact URI as its address-of-record.
Setup responses=Rport rport uri_in_to settled tenant_of_contact
Register
PbxCall to=Trunk
Attack method=Register credentials contact=Victim call=13
PbxCall
Wait pause=HalfSecond
PbxRepeat
