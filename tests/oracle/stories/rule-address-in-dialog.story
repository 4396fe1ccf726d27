# The victim calls, and has never registered. An outsider disputes its INVITE, so that sipnat does not know the dialog. Another
# account has a contact with the victim's private address.
Setup responses=Rport rport settled same_address
PbxCall to=Trunk
Attack method=Register credentials call=13
Attack by=Outsider transit=BadChecksum method=Invite guessed_branch party=Victim call=1 cseq=1
Call who=Victim
PbxInner
Wait pause=HalfSecond
PbxRepeat
