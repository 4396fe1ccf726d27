//! sipnat's codec, run on the host.

use std::net::{IpAddr, SocketAddr};

use nat_common::bpf::HostLoop;
use nat_common::bytes::Source as _;
use nat_common::datagram::{self, DatagramKind};
use nat_common::endpoint::Endpoint;
use nat_common::stun::{Request, reply::Reply};

/// Returns the answer to a datagram from `peer`; `None` if there is none.
pub fn answer(message: &[u8], peer: SocketAddr, software: bool) -> Option<Vec<u8>> {
    if datagram::classify(message.len() as u32, message.word(0)) != DatagramKind::Stun {
        return None;
    }
    let (mut request, mut reply) = (Request::default(), Reply::default());
    request.read::<_, HostLoop>(message).ok()?;
    reply.make::<_, HostLoop>(&request, message, &endpoint(peer), software);
    let words = reply.words()[..reply.len() as usize / 4].iter();
    Some(words.flat_map(|word| word.to_ne_bytes()).collect())
}

fn endpoint(peer: SocketAddr) -> Endpoint {
    match peer.ip() {
        IpAddr::V4(ip) => Endpoint::v4(ip.octets(), peer.port()),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let word = |at| u64::from_ne_bytes(std::array::from_fn(|index| octets[at + index]));
            Endpoint {
                addr: [word(0), word(8)],
                port: peer.port().into(),
                reserved: 0,
            }
        }
    }
}
