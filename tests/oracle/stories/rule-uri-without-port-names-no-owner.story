# An account has the victim's Contact URI, without its port, as its address-of-record. The PBX leaves the port out of To.
Setup responses=Rport rport uri_in_to settled tenant_of_contact no_port_in_to
Register
PbxCall to=Trunk
Attack method=Register credentials contact=Victim call=13
PbxCall
Wait pause=HalfSecond
PbxRepeat
