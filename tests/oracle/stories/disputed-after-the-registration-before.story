# The victim's registration ends. An account guesses Call-ID and branch of its next REGISTER, so sipnat learns nothing from that: it does not
# know the victim, whose call goes where the PBX sends it.
Setup responses=Rport rport
Register
Wait pause=Half
Attack transit=Fragment guessed_branch call=15 party=Victim cseq=2
Register
PbxCall
