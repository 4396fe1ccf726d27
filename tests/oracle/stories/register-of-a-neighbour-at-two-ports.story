# A neighbour registers under one name at both ports of the host. That spoils his own registration.
Setup victim=Alg owns_5060
Attack by=Neighbour other_socket cseq=1
Attack by=Neighbour credentials cseq=1
