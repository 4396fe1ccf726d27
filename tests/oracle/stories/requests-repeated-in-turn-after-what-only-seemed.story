# A phone with two ports only seemed to be at the one from which it sends. Several requests to it were open and repeated in
# turn, so that transmissions of one were counted for the other: an answer to one that went last to where it listens shows that
# it is not at the other port, however often that was sent.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxCall to=Public
PbxRepeat
Pickup who=Public
PbxCall to=Public
PbxRepeat which=1
PbxRepeat
PbxRepeat
PbxRepeat which=1
PbxRepeat which=1
PbxRepeat
PbxRepeat
Pickup who=Public
