# The mapping of a phone with STUN changes while it rings, and again in the call. The network then delivers its answer twice.
Setup responses=Rport rport victim=Mapped
Register
Behave mood=Ring
PbxCall
Remap
Pickup
Remap
Inner
Again
PbxInner
