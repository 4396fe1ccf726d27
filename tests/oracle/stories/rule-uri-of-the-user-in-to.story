# An outsider disputes the victim's REGISTERs, so that sipnat does not know its contact. An account has the same one. To names
# the victim.
Setup responses=Rport rport settled
PbxCall to=Trunk
Attack by=Outsider transit=Filtered method=Register guessed_branch party=Victim call=15 cseq=1
Attack by=Outsider transit=Filtered method=Register guessed_branch party=Victim call=15 cseq=2
Register
Attack method=Register credentials call=13 contact=Victim
PbxCall
Wait pause=HalfSecond
PbxRepeat
