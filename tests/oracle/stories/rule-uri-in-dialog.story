# The victim calls, and has never registered. An outsider disputes its INVITE, so that sipnat does not know the dialog. Another
# account has registered the victim's Contact URI.
Setup responses=Rport rport settled
PbxCall to=Trunk
Attack method=Register credentials call=13 contact=Victim
Attack by=Outsider transit=BadChecksum method=Invite guessed_branch party=Victim call=1 cseq=1
Call who=Victim
PbxInner
Wait pause=HalfSecond
PbxRepeat
