# The PBX relays an account's REGISTER in a way that sipnat does not see, and then another one that it sees. From then on sipnat takes it for a
# proxy, and believes neither the account's host nor the victim's.
Setup responses=Rport rport relays_registers
Register
PbxCall
Attack credentials target=Friend party=Victim contact=Victim route=Unseen
Attack credentials target=Friend call=1
