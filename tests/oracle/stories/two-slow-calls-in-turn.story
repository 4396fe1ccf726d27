Setup
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxRepeat
PbxCall to=Public
PbxRepeat which=1
PbxRepeat
PbxRepeat which=1
PbxRepeat
