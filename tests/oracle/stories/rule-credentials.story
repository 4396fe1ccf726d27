# A phone that sends from another port than the one at which it listens gets no challenge, and begins anew. That proves nothing.
Setup impatient
Behave who=Public mood=Silent
Register who=Public
Repeat who=Public
Behave who=Public
Register who=Public
PbxCall to=Public
