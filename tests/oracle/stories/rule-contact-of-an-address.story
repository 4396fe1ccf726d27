# A program at another address of the PBX's host accepts a REGISTER for the victim.
Setup responses=Rport rport other_address
Register
Restart
Attack other_socket method=Register party=Victim contact=Victim call=13
PbxCall
