# A PBX derives its tag from Call-ID and From-tag. An account calls with those of the victim's call.
Setup responses=Rport rport derived_tags
Register
Call to=Trunk
Attack credentials method=Invite call=2
PbxInner which=1
