# The victim subscribes, and the PBX's NOTIFY overtakes its answer. So the dialog has no owner to sipnat, which cannot say that the
# neighbour at the NAT's port 5060 is another terminal: that port has the first transmission.
Setup victim=Alg early_notify owns_5060 derived_tags
Attack by=Neighbour credentials
Subscribe
