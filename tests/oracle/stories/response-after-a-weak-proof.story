# The NAT's address without a port, which an ALG wrote, has the first response. The phone repeats its REGISTER: that says nothing
# of its learned address, which weak evidence made seem proven.
Setup uri_in_to victim=Alg
Register
Register
PbxOptions
PbxRepeat
