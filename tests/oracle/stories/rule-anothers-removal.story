# The proxy ignores a REGISTER that removes the victim's contact, and relays a 2xx that the friend has written.
Setup responses=Rport rport proxy
Register
Attack transit=Filtered method=Register party=Victim contact=VictimExpires call=13
Slip status=Ok
PbxCall
