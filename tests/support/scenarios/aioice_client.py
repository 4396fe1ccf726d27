"""Asks a STUN server by aioice, with FINGERPRINT. Arguments: its address, its port and our address."""

import asyncio
import sys

from aioice import ice, stun


class Nobody:
    """Takes what is not an answer."""

    def data_received(self, data, component):
        pass

    def request_received(self, message, addr, protocol, raw_data):
        pass


async def main(host, port, local):
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: ice.StunProtocol(Nobody()), local_addr=(local, 0)
    )
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["FINGERPRINT"] = stun.message_fingerprint(bytes(request))
    # What it returns has passed its check of the fingerprint, if there is one.
    response, _ = await protocol.request(request, (host, int(port)))
    assert "FINGERPRINT" in response.attributes
    print("mapped:", *response.attributes["XOR-MAPPED-ADDRESS"])


asyncio.run(main(*sys.argv[1:]))
