# The PBX has relayed a 2xx to an attacker's REGISTER by TCP, and sipnat starts again. The PBX answers the next REGISTER of that name by
# the same 2xx: to sipnat it is the PBX's own.
Setup proxy responses=Rport rport registrar=Unnamed
Register
Behave who=Registrar mood=Silent
Attack call=13 party=Victim
Slip status=Ok
Restart
Attack call=13 party=Victim contact=Victim
PbxCall
