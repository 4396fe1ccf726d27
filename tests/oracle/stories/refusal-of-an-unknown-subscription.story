# A phone has not heard that its subscription was accepted, and refuses the NOTIFY, which the PBX sends again. In a dialog another host could
# refuse so: it proves nothing.
Setup victim=Alg
Subscribe
Register
Repeat
PbxRepeat
PbxCall
