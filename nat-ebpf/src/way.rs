//! The two ways of a packet, and what ends it on each before anything is decided.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use nat_common::abi::Counter;
use nat_common::sip::{Direction, Doubt};

use crate::packet::Context;

/// One of the ways.
pub(crate) trait Way {
    /// Of its program.
    type Context: Context;
    const DIRECTION: Direction;
    const NOT_IP: Counter;
    const NOT_UDP: Counter;
    const FRAGMENT: Counter;
    const MALFORMED: Counter;
    const OTHER_PORT: Counter;
    const KEEPALIVE: Counter;
    const STUN: Counter;
    const NOT_SIP: Counter;
    const BAD_SOURCE: Counter;
    const TRUNCATED: Counter;
    const SYNTAX: Counter;
    const MISSING: Counter;
    const DUPLICATE: Counter;

    #[inline(always)]
    fn doubt(doubt: Doubt) -> Counter {
        match doubt {
            Doubt::Truncated => Self::TRUNCATED,
            Doubt::Syntax => Self::SYNTAX,
            Doubt::Missing => Self::MISSING,
            Doubt::Duplicate => Self::DUPLICATE,
        }
    }
}

/// To the PBX.
pub(crate) struct In;

/// From the PBX.
pub(crate) struct Out;

impl Way for In {
    type Context = xdp_md;
    const DIRECTION: Direction = Direction::In;
    const NOT_IP: Counter = Counter::InNotIp;
    const NOT_UDP: Counter = Counter::InNotUdp;
    const FRAGMENT: Counter = Counter::InFragment;
    const MALFORMED: Counter = Counter::InMalformed;
    const OTHER_PORT: Counter = Counter::InOtherPort;
    const KEEPALIVE: Counter = Counter::InKeepalive;
    const STUN: Counter = Counter::InStun;
    const NOT_SIP: Counter = Counter::InNotSip;
    const BAD_SOURCE: Counter = Counter::InBadSource;
    const TRUNCATED: Counter = Counter::InDoubtTruncated;
    const SYNTAX: Counter = Counter::InDoubtSyntax;
    const MISSING: Counter = Counter::InDoubtMissing;
    const DUPLICATE: Counter = Counter::InDoubtDuplicate;
}

impl Way for Out {
    type Context = __sk_buff;
    const DIRECTION: Direction = Direction::Out;
    const NOT_IP: Counter = Counter::OutNotIp;
    const NOT_UDP: Counter = Counter::OutNotUdp;
    const FRAGMENT: Counter = Counter::OutFragment;
    const MALFORMED: Counter = Counter::OutMalformed;
    const OTHER_PORT: Counter = Counter::OutOtherPort;
    const KEEPALIVE: Counter = Counter::OutKeepalive;
    const STUN: Counter = Counter::OutKeepalive;
    const NOT_SIP: Counter = Counter::OutNotSip;
    const BAD_SOURCE: Counter = Counter::OutNotSip;
    const TRUNCATED: Counter = Counter::OutDoubtTruncated;
    const SYNTAX: Counter = Counter::OutDoubtSyntax;
    const MISSING: Counter = Counter::OutDoubtMissing;
    const DUPLICATE: Counter = Counter::OutDoubtDuplicate;
}
