# A known fault. A PBX derives its tag from the caller's. An account subscribes under the Call-ID and tag of the victim's call, so its
# dialog has the same name. It answers the NOTIFY, and sipnat takes that for the victim's answer: the call's next request goes to the account.
Setup derived_tags
Call
Attack credentials method=Subscribe call=2
PbxInner which=1
