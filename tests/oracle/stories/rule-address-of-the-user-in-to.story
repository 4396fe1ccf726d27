# An outsider disputes the victim's REGISTERs, so that sipnat does not know its contact. An account has the same address. To
# names the victim.
Setup responses=Rport rport settled same_address
PbxCall to=Trunk
Attack by=Outsider transit=Filtered method=Register guessed_branch party=Victim call=15 cseq=1
Attack by=Outsider transit=Filtered method=Register guessed_branch party=Victim call=15 cseq=2
Register
Attack method=Register credentials call=13
PbxCall
Wait pause=HalfSecond
PbxRepeat
