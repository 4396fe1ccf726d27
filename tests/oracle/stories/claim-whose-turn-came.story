# As above, and the PBX has called the victim meanwhile: the account's host would have had the next transmission.
Setup responses=Rport rport relays_registers
Register
PbxCall
Attack credentials target=Friend party=Victim contact=Victim route=Unseen
Attack credentials target=Friend call=1
PbxCall
