# A PBX derives its tag from the caller's. An account subscribes under the Call-ID and tag of the victim's call, so its dialog has the same
# name. It answers the NOTIFY at its Contact, which is not the victim's: the victim's dialog end stays where it is.
Setup derived_tags
Call
Attack credentials method=Subscribe call=2
PbxInner which=1
