# A PBX relays an account's claim of the victim's contact to a friend, out of sight, and another REGISTER in sight: to sipnat it is a
# proxy from then on. The victim registers again, so sipnat believes neither. A further claim that the PBX relays ends no doubt.
Setup responses=Rport rport relays_registers
Register
PbxCall
Attack credentials target=Friend party=Victim contact=Victim route=Unseen
Attack credentials target=Friend call=1
PbxCall
Register
Attack credentials target=Friend party=Victim route=Unseen
PbxCall
