# A phone sends and answers from another port than the one at which it listens. It answers slowly, and soon after the PBX has
# sent the request again: that transmission went to the port from which the phone answers.
Setup answers_elsewhere
Register who=Public
Behave who=Public mood=Slow
PbxCall to=Public
Wait pause=HalfSecond
PbxRepeat
Pickup who=Public
