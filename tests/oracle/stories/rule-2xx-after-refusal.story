# The proxy refuses a REGISTER, and then relays a 2xx that the friend has written.
Setup responses=Rport rport proxy
Register
Restart
Attack method=Register party=Victim contact=Victim call=13
Slip status=Ok
PbxCall
