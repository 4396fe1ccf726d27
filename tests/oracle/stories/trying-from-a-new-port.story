# A phone that sends from a new port each time listens at another one, and sends 100 from a third. That proves nothing of the port to
# which the second transmission went.
Setup public=NewPorts answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
PbxRepeat
Pickup who=Public trying
PbxCall to=Public
