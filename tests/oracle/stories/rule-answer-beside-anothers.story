# A neighbour behind the same NAT forges an answer to a call that the victim has taken, and the host's firewall drops it. The victim repeats
# its own answer: its dialog end stays where it is.
Setup responses=Received proxy trunk=Public
Register
Register
Call who=Public to=Victim
Forge by=Neighbour transit=Filtered status=Ok to_tag=None
Again who=Victim
