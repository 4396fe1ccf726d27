# A PBX that is no proxy relays an account's REGISTERs to a friend, out of sight: one that removes the victim's contact, and one that claims
# it. The victim registers again, and the claim is as old as its registration is to sipnat.
Setup responses=Rport rport relays_registers
Register
PbxCall
Attack transit=Right method=Register party=Victim target=Friend contact=Star cseq=1 route=Unseen credentials
Attack transit=Right method=Register party=Victim target=Friend contact=Victim route=Unseen credentials
