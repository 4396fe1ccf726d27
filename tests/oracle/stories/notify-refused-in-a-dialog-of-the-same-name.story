# The same, and the account's Contact is the public phone's, which knows no such dialog and refuses.
Setup derived_tags
Call
Attack credentials method=Subscribe call=2 contact=Public
PbxInner which=1
