# A proxy relays a 2xx that sipnat does not see arrive. The victim's own registration ends that claim only where sipnat follows it.
Setup proxy registrar=Unnamed
Register
Attack transit=Filtered party=Victim contact=Victim
Slip status=Ok
Register
Call
