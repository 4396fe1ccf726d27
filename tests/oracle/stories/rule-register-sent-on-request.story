# The proxy sends a REGISTER for the victim on to a registrar that is silent, and relays a 2xx that the friend has written.
Setup responses=Rport rport proxy registrar=Unnamed
Register
Restart
Behave who=Registrar mood=Silent
Attack method=Register party=Victim contact=Victim call=13
Slip status=Ok
PbxCall
