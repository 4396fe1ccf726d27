# The victim calls by way of a proxy with a private address, and then goes on without it. sipnat starts again in between.
Setup responses=Rport rport trunk=Private
Register
Call through to=Trunk
Restart
Inner method=Info
PbxAgain
