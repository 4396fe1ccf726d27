# An account calls the victim, and sends a request in that dialog by way of the friend, who is silent.
Setup responses=Rport rport proxy
Register
Behave who=Friend mood=Silent
Attack credentials method=Invite target=VictimAor call=13
Attack method=Info to_tag=Learned target=Victim call=13 cseq=1 route=Friend
PbxRepeat
