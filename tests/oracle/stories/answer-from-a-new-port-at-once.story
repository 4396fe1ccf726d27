# The phone rings, and answers from a new port in the next millisecond. After these REGISTERs, both were in one tick of sipnat's clock
# while the model's were shorter, so that it took the answer for one that is late.
Setup responses=Rport rport
Register
Behave mood=Ring
Register
Register
Register
Register
Register
PbxCall
Remap
Pickup
PbxInner
