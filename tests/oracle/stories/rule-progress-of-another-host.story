# A phone sends from another port than the one at which it listens. An account learns both tags of its dialog from a PBX that
# derives them, and sends a request that a firewall drops. That does not show that the phone gets what is sent to the other port.
Setup derived_tags
Call who=Public to=Trunk
Repeat who=Public
Attack credentials method=Invite call=2
Attack transit=Filtered method=Info to_tag=Learned call=2 cseq=2
PbxInner which=1
