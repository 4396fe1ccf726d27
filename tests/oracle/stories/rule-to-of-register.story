# An account registers the victim's Contact URI for itself. The proxy relays an answer whose To names the victim.
Setup responses=Rport rport proxy
Register
Restart
Attack method=Register credentials contact=Victim call=13
Slip status=Ok party=Victim
PbxCall
