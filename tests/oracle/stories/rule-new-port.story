# The mapping of a phone with STUN changes while it rings. It answers from the new port, and names that in its Contact.
Setup victim=Mapped
Register
Behave mood=Ring
PbxCall
Remap
Pickup
PbxInner
