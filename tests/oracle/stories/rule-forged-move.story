# The proxy ignores a REGISTER for the victim, and relays a 2xx that the friend has written: sipnat believes neither host.
Setup responses=Rport rport proxy
Register
Attack transit=Filtered method=Register party=Victim contact=Victim call=13
Slip status=Ok
PbxCall
