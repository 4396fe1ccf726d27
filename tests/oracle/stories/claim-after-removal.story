# The victim has removed its contact, so it is no host before that of an attacker, whose REGISTER the PBX relays unseen.
Setup responses=Rport rport relays_registers
Register
PbxCall
Register removal=Star
Attack credentials target=Friend party=Victim contact=Victim route=Unseen
