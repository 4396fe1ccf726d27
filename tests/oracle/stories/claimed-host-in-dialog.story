Setup victim=AlgInCalls relays_registers
PbxCall to=Trunk
Attack credentials target=Friend party=Victim contact=Victim route=Unseen
