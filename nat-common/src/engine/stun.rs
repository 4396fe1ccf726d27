//! Decisions on STUN: sources that are answered, how often, and the record of them.
//!
//! ```
//! use nat_common::abi::address;
//! use nat_common::endpoint::Endpoint;
//! use nat_common::engine::{stun::may_answer, verdict::Stun};
//!
//! let (here, phone) = (address::LOCAL, Endpoint::v4([60, 17, 196, 2], 49163));
//! assert_eq!(may_answer(&phone, 0, here, 2), Ok(()));
//! let neighbour = Endpoint::v4([192, 168, 1, 10], 5060);
//! assert_eq!(may_answer(&neighbour, address::on_link(2), here, 2), Ok(()));
//! assert_eq!(may_answer(&neighbour, 0, here, 2), Err(Stun::BadSource));
//! ```

use crate::abi::{Counter, StunFlags, StunSource, address, stun as bits, ticks};
use crate::bpf::Repeat;
use crate::bytes::Source;
use crate::datagram::Datagram;
use crate::endpoint::Endpoint;
use crate::engine::env::{Clock, Hashes, Journal, Rules, Tables};
use crate::engine::proof::{NOBODY, describe, resident};
use crate::engine::verdict::Stun;
use crate::stun::{Answer, Doubt, Request, reply::Reply};
use crate::tables::slots::SlotKey;

/// Environment of these decisions.
pub trait Server: Clock + Hashes + Tables + Rules + Journal {
    /// Takes one request from the allowance of a source, by its hash. False if none is left.
    fn take(&self, hash: u64) -> bool;
    /// Takes one request from the allowance of all sources together. False if none is left.
    fn take_of_total(&self) -> bool;
    /// Calls [`is_terminal`]. A kernel calls it by name, so that it is verified once.
    fn is_terminal(&self, source: &Endpoint) -> bool;
}

/// Arrival of a STUN message.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'d> {
    /// Datagram that carries it.
    pub datagram: &'d Datagram,
    /// Index of the interface.
    pub interface: u32,
    /// The datagram came to a SIP port.
    pub sip_port: bool,
}

impl From<Doubt> for Stun {
    #[inline(always)]
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::NotRequest => Self::NotRequest,
            Doubt::TooLong => Self::Unusual,
            Doubt::Malformed => Self::Malformed,
            Doubt::Credentials => Self::Credentials,
            Doubt::BadFingerprint => Self::BadFingerprint,
        }
    }
}

/// Reads a Binding request, decides whether it is answered, and makes the answer. `settings` are bits of
/// [`abi::stun`](crate::abi::stun).
#[inline(always)]
pub fn serve<E: Server, S: Source + ?Sized, L: Repeat>(
    env: &E,
    arrival: &Arrival<'_>,
    payload: &S,
    settings: u32,
    request: &mut Request,
    reply: &mut Reply,
) -> Stun {
    let (source, destination) = (&arrival.datagram.source, &arrival.datagram.destination);
    if !source.is_unicast() {
        return Stun::BadSource;
    }
    let answer = match request.read::<_, L>(payload) {
        Ok(answer) => answer,
        Err(doubt) => return doubt.into(),
    };
    if let Err(verdict) = may_answer(
        source,
        env.kind_of(source),
        env.kind_of(destination),
        arrival.interface,
    ) {
        return verdict;
    }
    let payer = payer(source);
    if !env.take(env.mix(payer[0], payer[1], 0)) {
        return Stun::Limited;
    }
    // The limit of the source comes first, so that a source above it does not spend the allowance of all.
    let allowed = env.take_of_total() || arrival.sip_port && env.is_terminal(source);
    if !allowed {
        return Stun::TotalLimited;
    }
    note(env, source, arrival.sip_port);
    let software = settings & bits::SOFTWARE != 0;
    reply.make::<_, L>(request, payload, source, software);
    match answer {
        Answer::Address => Stun::Answered,
        Answer::UnknownAttributes => Stun::Refused,
    }
}

/// Decides whether a request may be answered that came by `interface`, by the kinds of its source and destination.
///
/// # Errors
/// The verdict on a request that is left alone.
#[inline(always)]
pub fn may_answer(
    source: &Endpoint,
    source_kind: u32,
    destination_kind: u32,
    interface: u32,
) -> Result<(), Stun> {
    if address::place(destination_kind) != address::LOCAL {
        return Err(Stun::NotHere);
    }
    match address::place(source_kind) {
        place if place == address::on_link(interface) => Ok(()),
        0 if !source.is_private() => Ok(()),
        _ => Err(Stun::BadSource),
    }
}

/// Returns the part of a source that has an allowance: an IPv4 address, or an IPv6 network of 64 bits, of which a host
/// can have every address.
#[inline(always)]
#[must_use]
pub fn payer(source: &Endpoint) -> [u64; 2] {
    if source.is_v4() {
        source.addr
    } else {
        [source.addr[0], 0]
    }
}

/// Whether a source is the learned address of a terminal that the PBX accepted.
///
/// The keepalives of such a terminal are answered above the limit of all sources. Otherwise a flood of forged sources could
/// make every phone believe that its connection is lost (RFC 5626 4.4.2), and register again.
#[inline(always)]
pub fn is_terminal<E: Clock + Hashes + Tables>(env: &E, source: &Endpoint) -> bool {
    resident(env, &describe(env, source).value) != NOBODY
}

/// Stores the source of a terminal's keepalive that sipnat does not answer: CRLF, zero bytes, or a STUN request. Sources that
/// are no terminals are not stored, so that their junk pushes no terminal out.
#[inline(always)]
pub fn note_keepalive<E: Server>(env: &E, source: &Endpoint) {
    if source.is_unicast() && env.is_terminal(source) {
        note(env, source, true);
    }
}

/// Returns the key of a source in `STUN`. `mix` hashes three words ([`Hashes::mix`]).
#[inline(always)]
pub fn key(source: &Endpoint, mix: impl FnOnce(u64, u64, u64) -> u64) -> SlotKey {
    SlotKey::of(mix(source.addr[0], source.addr[1], u64::from(source.port)))
}

/// Stores where a request came from. That proves nothing, but shows who is alive: listings look sources up by the
/// learned addresses of bindings. `keepalive`: it came to a SIP port.
#[inline(always)]
fn note<E: Server>(env: &E, source: &Endpoint, keepalive: bool) {
    let key = key(source, |a, b, c| env.mix(a, b, c));
    let now = ticks(env.now());
    let entry = env.entry::<StunSource>();
    entry.at = now;
    entry.value.first = now;
    entry.value.set_source(source);
    if keepalive {
        entry.value.flags = StunFlags::KEEPALIVE;
    }
    if let Some(known) = env.slots::<StunSource>(&key).and_then(|s| s.find(&key)) {
        entry.value.first = known.value.first;
        entry.value.flags |= known.value.flags;
        entry.value.requests = known.value.requests;
    }
    entry.value.requests = entry.value.requests.saturating_add(1);
    if env
        .slots::<StunSource>(&key)
        .is_none_or(|mut slots| !slots.put(&key, entry))
    {
        env.count(Counter::SlotBusy);
    }
}
