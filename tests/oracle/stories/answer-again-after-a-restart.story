# A terminal's answer comes again after sipnat has started anew: it knows of no request, and proves nothing.
Setup victim=Alg responses=Rport rport
Register who=Victim
PbxCall to=Victim
PbxRepeat
Restart
Again who=Victim
