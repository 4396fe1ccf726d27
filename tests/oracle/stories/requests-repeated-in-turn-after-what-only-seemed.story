# A phone with two ports only seemed to be at the one from which it sends. Several requests to it were open and repeated in
# turn, so that transmissions of one were counted for the other: an answer to one that had gone to where it does not listen
# first shows that it does not.
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
