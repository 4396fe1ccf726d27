//! Media: which streams a call has. A description of one side is noted, and counts when the other side answers it.
//!
//! The evidence is the PBX's consent, as for a dialog end: a stream is bound only to the learned address of a live dialog
//! end, whose message the PBX has answered, or which has answered the PBX. Lines of offer and answer belong together by
//! their order (RFC 3264 6).

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::abi::{
    BindingFlags, Counter, DialogKey, Guard, InboundFlags, InboundTransaction, MEDIA_ADDRESSES,
    MediaConfig, MediaCounter, MediaFlags, OFFER_LINES, Offer, OfferFlags, Policy, Record, age,
    line, ticks,
};
use crate::bpf::bounded;
use crate::bytes::words;
use crate::datagram::Datagram;
use crate::endpoint::Endpoint;
use crate::engine::dialogs::live_dialog;
use crate::engine::env::{Bindings, Checksum, Clock, Env, Rules, Text};
use crate::engine::identity::dialog_key;
use crate::engine::lifetimes::ANSWER_LIFE;
use crate::engine::verdict::Heard;
use crate::media::{Binding, Bound};
use crate::sdp::{Description, LineFlags, Transport};
use crate::sip::{Field, Message, Method, header};
use crate::tables::key;
use crate::tables::slots::{Noted, SlotKey};

/// Verdict of the [`Record`] of a description, which no [`Counter`] has.
pub const VERDICT: u8 = u8::MAX;
const _: () = assert!(Counter::COUNT <= VERDICT as u32);

/// Bit beside the events of the record of a description: the PBX sent it.
pub const BY_PBX: u32 = 1 << 31;
const _: () = assert!(MediaCounter::COUNT < 32);

/// Lowest port of a terminal's stream. Below it are services: a terminal that names one of another host wants its packets.
const LEAST_PORT: u16 = 1024;

/// Environment of decisions about media.
pub trait Media: Env + Text + MediaSlots {
    /// Returns the description in the message.
    fn description(&self) -> &Description;
    /// Calls [`bind_line`]. A kernel calls it by name, so that it is verified once.
    fn bind_line(&self, index: u32);
    /// Calls [`open_line`], for the same reason.
    fn open_line(&self, index: u32);
}

/// Slots of streams.
pub trait MediaSlots {
    /// Returns the settings.
    fn media_config(&self) -> &MediaConfig;
    /// Returns scratch for a pair of descriptions, with its last content.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn pairing(&self) -> &mut Pairing;
    /// Binds the slot of a port to the stream in the pairing.
    fn bind(&self, number: u32, port: u16);
    /// Returns the owner of the slot of a port, if it is used.
    fn owner(&self, number: u32, port: u16) -> Option<DialogKey>;
    /// Copies the stream to which the slot of a port is bound into the pairing.
    fn describe(&self, number: u32, port: u16);
    /// Sets the time until which the slot of a port counts.
    fn extend(&self, number: u32, port: u16, expires: u64);
    /// Empties the slot of a port.
    fn clear(&self, number: u32, port: u16);
    /// Opens the slot of a port to the packets of others.
    fn open(&self, number: u32, port: u16);
    /// Returns the guard of the slot of a port against packets from an address that is none of its terminal's.
    fn guard(&self, number: u32, port: u16, source: &Endpoint) -> Guard;
    /// Adds one to a counter.
    fn count_media(&self, event: MediaCounter);
    /// Whether a port is one of SIP or STUN.
    fn is_signalling(&self, port: u16) -> bool;
}

/// Descriptions of both sides, and the stream of a line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Pairing {
    /// Description of the PBX.
    pub pbx: Offer,
    /// Description of the terminal.
    pub terminal: Offer,
    /// Stream of the line that is being bound.
    pub binding: Binding,
    /// Address of the PBX's socket.
    pub local: [u64; 2],
    /// Number of the local address that has the PBX's media; [`MEDIA_ADDRESSES`] if none of this host's has.
    pub number: u32,
    /// Flags of all streams.
    pub flags: u32,
    /// Events of this message: a bit for each [`MediaCounter`].
    pub events: u32,
    /// Not 0: the description in this message is usable.
    pub readable: u32,
}

impl Pairing {
    /// Adds an event.
    #[inline(always)]
    pub const fn add(&mut self, event: MediaCounter) {
        self.events |= 1 << event as u32;
    }
}

/// Returns the event that the outcome of binding a slot is.
#[inline(always)]
#[must_use]
pub const fn event_of(bound: Bound) -> MediaCounter {
    match bound {
        Bound::New => MediaCounter::Bound,
        Bound::Same => MediaCounter::Kept,
        Bound::Taken => MediaCounter::Guarded,
        Bound::Accepted | Bound::Busy => MediaCounter::Refused,
    }
}

/// Whether a message may carry a description that matters. Offers in PRACK and in its answers are left alone.
#[inline(always)]
#[must_use]
pub const fn may_carry(m: &Message) -> bool {
    matches!(m.method, Method::Invite | Method::Update | Method::Ack)
        && (m.status == 0 || m.status > 100 && m.status < 300)
}

/// Returns the key under which the description in a message is noted, or that which it answers. `call` is the hash of the Call-ID,
/// joined with the PBX's socket.
#[inline(always)]
#[must_use]
pub const fn first_key(m: &Message, call: u64, branch: u64, by_pbx: bool) -> SlotKey {
    if matches!(m.method, Method::Ack) {
        return key::offer_in_answer(call, m.cseq, !by_pbx);
    }
    key::offer(call, branch, m.cseq, m.method, by_pbx == (m.status == 0))
}

/// Takes the description in a message of a terminal, which was heard as `heard` says.
#[inline(always)]
pub fn incoming<E: Media>(env: &E, m: &Message, heard: Heard, datagram: &Datagram) {
    begin(env, &datagram.destination);
    let p = env.pairing();
    p.readable = describe(env.description(), &mut p.terminal).into();
    take_incoming(env, m, heard, &datagram.source);
    remember(env, m, 0);
}

#[inline(always)]
fn take_incoming<E: Media>(env: &E, m: &Message, heard: Heard, source: &Endpoint) {
    let (call, branch) = names(env);
    let unanswered = match heard {
        Heard::Request | Heard::Repeat => key::offer(call, branch, m.cseq, m.method, false),
        Heard::Response => {
            let answered = key::offer(call, branch, m.cseq, m.method, true);
            let pair = Pair {
                key: &answered,
                call,
                own: Field::ToTag,
                by_terminal: false,
            };
            if pair_up(env, m, &pair, Some(source)) || m.status < 200 {
                return;
            }
            key::offer_in_answer(call, m.cseq, false)
        }
        Heard::Ack => {
            if env.checksum() != Checksum::Right {
                // The PBX never sees it.
                return;
            }
            let answered = key::offer_in_answer(call, m.cseq, true);
            let pair = Pair {
                key: &answered,
                call,
                own: Field::FromTag,
                by_terminal: false,
            };
            if !pair_up(env, m, &pair, Some(source)) {
                tell(env, MediaCounter::Unpaired);
            }
            return;
        }
        _ => return,
    };
    note(env, &unanswered, true);
}

/// Takes the description in a message of the PBX.
#[inline(always)]
pub fn outgoing<E: Media>(env: &E, m: &Message, datagram: &Datagram) {
    begin(env, &datagram.source);
    let p = env.pairing();
    p.readable = describe(env.description(), &mut p.pbx).into();
    number_pbx(env);
    // Whoever is told of the ports may send there before his answer comes.
    for_lines(
        |index| (p.pbx.ports[index] | p.pbx.rtcp[index]) != 0,
        |index| env.open_line(index),
    );
    take_outgoing(env, m);
    remember(env, m, BY_PBX);
}

/// Finds the number of the address in the PBX's description.
#[inline(always)]
fn number_pbx<E: Media>(env: &E) {
    let p = env.pairing();
    p.number = env.media_config().number_described(&p.pbx.addr, &p.local);
}

/// Opens the slots of a line of the PBX's description to the packets of others.
#[inline(always)]
pub fn open_line<E: MediaSlots>(env: &E, index: u32) {
    let p = env.pairing();
    let index = bounded::<OFFER_LINES>(index as usize);
    // SAFETY: the index is in bounds.
    let (port, rtcp) = unsafe {
        (
            *p.pbx.ports.get_unchecked(index),
            *p.pbx.rtcp.get_unchecked(index),
        )
    };
    if p.number < MEDIA_ADDRESSES as u32 {
        env.open(p.number, port);
        env.open(p.number, rtcp);
    }
}

/// Begins with a description. The PBX's socket is `local`.
#[inline(always)]
fn begin<E: Media>(env: &E, local: &Endpoint) {
    let p = env.pairing();
    p.local[0] = local.addr[0];
    p.local[1] = local.addr[1];
    p.events = 0;
    p.binding.owner.tag = 0;
    forget(&mut p.pbx);
    forget(&mut p.terminal);
}

/// Makes the address of a description unknown.
#[inline(always)]
const fn forget(offer: &mut Offer) {
    offer.addr[0] = 0;
    offer.addr[1] = 0;
    offer.first = 0;
}

/// Counts an event, for the record of this message as well.
#[inline(always)]
fn tell<E: MediaSlots>(env: &E, event: MediaCounter) {
    env.pairing().add(event);
    env.count_media(event);
}

/// Stores the record of a description of which something became.
#[inline(always)]
fn remember<E: Media>(env: &E, m: &Message, side: u32) {
    let p = env.pairing();
    if p.events == 0 {
        return;
    }
    // Every field: the record before is not cleared.
    let Record {
        at,
        call,
        pbx,
        tag,
        original_addr,
        learned_addr,
        original_port,
        learned_port,
        cseq,
        events,
        status,
        method,
        verdict,
        ground,
        transmission,
        weak,
        bound,
        reserved,
    } = env.record();
    *at = env.now();
    *call = env.hash(Field::CallId as usize);
    *pbx = env.pbx();
    *tag = p.binding.owner.tag;
    original_addr[0] = p.terminal.addr[0];
    original_addr[1] = p.terminal.addr[1];
    learned_addr[0] = p.pbx.addr[0];
    learned_addr[1] = p.pbx.addr[1];
    *original_port = p.terminal.first;
    *learned_port = p.pbx.first;
    *cseq = m.cseq;
    *events = p.events | side;
    *status = m.status;
    *method = m.method as u8;
    *verdict = VERDICT;
    *ground = 0;
    *transmission = 0;
    *weak = 0;
    // A stranger's offer is only noted.
    *bound = u8::from(p.binding.owner.tag != 0);
    *reserved = [0; 4];
    env.remember(env.record());
}

#[inline(always)]
fn take_outgoing<E: Media>(env: &E, m: &Message) {
    let (call, branch) = names(env);
    let unanswered = if m.status == 0 {
        if m.headers & header::ROUTE != 0 {
            tell(env, MediaCounter::NotDirect);
            return;
        }
        if m.method == Method::Ack {
            let answered = key::offer_in_answer(call, m.cseq, false);
            let pair = Pair {
                key: &answered,
                call,
                own: Field::ToTag,
                by_terminal: true,
            };
            if !pair_up(env, m, &pair, None) {
                tell(env, MediaCounter::Unpaired);
            }
            return;
        }
        key::offer(call, branch, m.cseq, m.method, true)
    } else {
        let transaction = key::transaction(call, branch, m.cseq, m.method);
        let disputed = env
            .slots::<InboundTransaction>(&transaction)
            .and_then(|s| s.find(&transaction))
            .is_none_or(|request| request.value.flags.contains(InboundFlags::AMBIGUOUS));
        if disputed {
            tell(env, MediaCounter::Unpaired);
            return;
        }
        let answered = key::offer(call, branch, m.cseq, m.method, false);
        let pair = Pair {
            key: &answered,
            call,
            own: Field::FromTag,
            by_terminal: true,
        };
        if pair_up(env, m, &pair, None) || m.status < 200 {
            return;
        }
        key::offer_in_answer(call, m.cseq, true)
    };
    note(env, &unanswered, false);
}

/// Returns the hashes of Call-ID and branch.
#[inline(always)]
fn names<E: Env>(env: &E) -> (u64, u64) {
    let call = env.hash(Field::CallId as usize) ^ env.pbx();
    (call, env.hash(Field::Branch as usize))
}

/// Notes the description of one side until the other answers it. Of two that differ, neither counts.
#[inline(always)]
fn note<E: Media>(env: &E, key: &SlotKey, by_terminal: bool) {
    let p = env.pairing();
    if p.readable == 0 {
        tell(env, MediaCounter::Unreadable);
        return;
    }
    let entry = env.entry::<Offer>();
    entry.at = ticks(env.now());
    let side = if by_terminal { &p.terminal } else { &p.pbx };
    words::assign(&mut entry.value, side);
    let Some(mut slots) = env.slots::<Offer>(key) else {
        return;
    };
    let noted = slots.note(key, entry, ANSWER_LIFE);
    let same = match noted {
        Noted::New | Noted::Pushed => {
            tell(env, MediaCounter::Noted);
            return;
        }
        Noted::Busy => return,
        Noted::Other => false,
        Noted::Same => is_same(&slots.found().value, &entry.value),
    };
    if !same {
        slots.add_flags(key, OfferFlags::AMBIGUOUS);
        tell(env, MediaCounter::Ambiguous);
    }
}

/// Whether two descriptions have the same streams.
#[inline(always)]
fn is_same(known: &Offer, other: &Offer) -> bool {
    let mut differs = (known.addr[0] ^ other.addr[0]) | (known.addr[1] ^ other.addr[1]);
    let mut index = 0;
    while index < OFFER_LINES {
        differs |= u64::from(known.ports[index] ^ other.ports[index])
            | u64::from(known.rtcp[index] ^ other.rtcp[index])
            | u64::from(known.lines[index] ^ other.lines[index]);
        index += 1;
    }
    differs == 0
}

/// Copies a description as it is noted. Streams at another address than the first are not usable. False if none is.
#[inline(always)]
fn describe(description: &Description, offer: &mut Offer) -> bool {
    words::clear(offer);
    let mut found = describe_line::<0>(description, offer, false);
    found = describe_line::<1>(description, offer, found);
    found = describe_line::<2>(description, offer, found);
    found = describe_line::<3>(description, offer, found);
    offer.first = offer.ports[0];
    found
}

/// Copies a line. `found`: the address of an earlier one is known. Returns whether one is known now.
#[inline(always)]
fn describe_line<const INDEX: usize>(
    description: &Description,
    offer: &mut Offer,
    found: bool,
) -> bool {
    let from = &description.lines[INDEX];
    let known = from.addr[0] | from.addr[1] != 0;
    let readable = !from.flags.contains(LineFlags::UNREADABLE);
    if !found && known && readable {
        offer.addr[0] = from.addr[0];
        offer.addr[1] = from.addr[1];
    }
    let here = from.addr[1] == offer.addr[1] && from.addr[0] == offer.addr[0];
    if !known || !readable || !here {
        return found || known && readable;
    }
    let elsewhere = from.flags.contains(LineFlags::RTCP_ELSEWHERE);
    let mut bits = match from.transport {
        Transport::Rtp => line::USABLE | line::RTP,
        Transport::Udptl => line::USABLE | line::UDPTL,
        Transport::Other => 0,
    };
    if from.flags.contains(LineFlags::MUX) {
        bits |= line::MUX;
    }
    if from.flags.contains(LineFlags::ICE) || description.cut {
        bits |= line::ICE;
    }
    offer.ports[INDEX] = from.port;
    offer.rtcp[INDEX] = if elsewhere { 0 } else { from.rtcp };
    offer.lines[INDEX] = bits;
    true
}

/// Description that a message answers.
struct Pair<'k> {
    /// Key under which it was noted.
    key: &'k SlotKey,
    /// Hash of the Call-ID, joined with the PBX's socket.
    call: u64,
    /// Field with the terminal's own tag in this message.
    own: Field,
    /// The terminal wrote the description that was noted.
    by_terminal: bool,
}

/// Binds the streams of a noted description and of that in the message, if the terminal's dialog end is live. With a
/// `source`, the message must come from its learned address. False if no description was noted.
#[inline(never)]
fn pair_up<E: Media>(env: &E, m: &Message, pair: &Pair<'_>, source: Option<&Endpoint>) -> bool {
    let now = env.now();
    let Some(noted) = env
        .slots::<Offer>(pair.key)
        .and_then(|s| s.find(pair.key))
        .filter(|noted| age(ticks(now), noted.at) < ANSWER_LIFE)
    else {
        return false;
    };
    if noted.value.flags.contains(OfferFlags::AMBIGUOUS) {
        tell(env, MediaCounter::Ambiguous);
        return true;
    }
    let p = env.pairing();
    if p.readable == 0 {
        tell(env, MediaCounter::Unreadable);
        return true;
    }
    if pair.by_terminal {
        words::assign(&mut p.terminal, &noted.value);
    } else {
        words::assign(&mut p.pbx, &noted.value);
        number_pbx(env);
    }
    let owner = dialog_key(env, pair.call, pair.own);
    p.binding.owner.call = owner.call;
    p.binding.owner.tag = owner.tag;
    if live_dialog(env, &owner).is_none() {
        tell(env, MediaCounter::Unpaired);
        return true;
    }
    let known = env.draft();
    let elsewhere = source.is_some_and(|source| source.addr != known.learned.addr);
    if elsewhere || known.flags.contains(BindingFlags::ENDED) {
        tell(env, MediaCounter::Unpaired);
        return true;
    }
    let policy = env.policy(&known.learned);
    let direct = known.flags.contains(BindingFlags::DIRECT);
    if !direct && policy != Policy::Force {
        tell(env, MediaCounter::NotDirect);
        return true;
    }
    if is_unspecified(&p.pbx) {
        // The PBX holds the call (RFC 2543 B.5): its streams come back.
        tell(env, MediaCounter::Kept);
        return true;
    }
    if p.number >= MEDIA_ADDRESSES as u32 {
        tell(env, MediaCounter::Direct);
        return true;
    }
    let early = m.status != 0 && m.status < 200;
    let mut flags = MediaFlags::empty();
    flags.set(MediaFlags::EARLY, early);
    flags.set(MediaFlags::REWRITE, may_rewrite(env, &p.terminal, policy));
    let forwards = env.media_config().is_forwarding(&known.learned.addr);
    flags.set(MediaFlags::FORWARDED, forwards);
    p.flags = u32::from(flags.bits());
    let binding = &mut p.binding;
    binding.peer[0] = known.learned.addr[0];
    binding.peer[1] = known.learned.addr[1];
    binding.now = now;
    let state = if early {
        BindingFlags::EARLY
    } else {
        BindingFlags::empty()
    };
    binding.expires = now + env.dialog_lives()[state.dialog_state()];
    let ports = p.pbx.ports;
    for_lines(|index| ports[index] != 0, |index| env.bind_line(index));
    true
}

/// Does something for each line of a description that needs it. Most have one, and each takes a call.
#[inline(always)]
fn for_lines(needs: impl Fn(usize) -> bool, act: impl Fn(u32)) {
    const { assert!(OFFER_LINES == 4) };
    if needs(0) {
        act(0);
    }
    if needs(1) {
        act(1);
    }
    if needs(2) {
        act(2);
    }
    if needs(3) {
        act(3);
    }
}

/// Whether packets to the terminal's advertised media may go to its learned address: its dialog end is in the draft. The
/// advertised address cannot be reached from here, or is the learned one and the terminal is behind NAT.
#[inline(always)]
fn may_rewrite<E: Media>(env: &E, terminal: &Offer, policy: Policy) -> bool {
    let known = env.draft();
    let advertised = Endpoint {
        addr: terminal.addr,
        port: 1,
        reserved: 0,
    };
    match policy {
        Policy::Off => return false,
        Policy::Force => return true,
        Policy::Auto => {}
    }
    if known.learned.addr == terminal.addr {
        return known.learned != known.advertised;
    }
    advertised.is_private() && env.kind_of(&advertised) == 0
}

/// Whether a description has the address `0.0.0.0`.
#[inline(always)]
const fn is_unspecified(offer: &Offer) -> bool {
    offer.addr[0] == 0 && (offer.addr[1] >> 32) == 0
}

/// Binds the slots of a line: of its media, and of its RTCP.
#[inline(always)]
pub fn bind_line<E: MediaSlots + Bindings + Clock>(env: &E, index: u32) {
    let p = env.pairing();
    let index = bounded::<OFFER_LINES>(index as usize);
    // SAFETY: the index is in bounds.
    let (port, rtcp, pbx) = unsafe {
        (
            *p.pbx.ports.get_unchecked(index),
            *p.pbx.rtcp.get_unchecked(index),
            *p.pbx.lines.get_unchecked(index),
        )
    };
    // SAFETY: as above.
    let (their_port, their_rtcp, terminal) = unsafe {
        (
            *p.terminal.ports.get_unchecked(index),
            *p.terminal.rtcp.get_unchecked(index),
            *p.terminal.lines.get_unchecked(index),
        )
    };
    let [lowest, highest] = env.media_config().ports;
    if port == 0 || port < lowest || port > highest || env.is_signalling(port) {
        if port != 0 {
            tell(env, MediaCounter::Refused);
        }
        return;
    }
    let both = pbx & terminal;
    let served =
        both & line::USABLE != 0 && both & (line::RTP | line::UDPTL) != 0 && both & line::ICE == 0;
    if !served || their_port < LEAST_PORT {
        tell(env, MediaCounter::Refused);
        if is_own(env, port) {
            env.clear(p.number, port);
        }
        return;
    }
    if is_unspecified(&p.terminal) {
        // The terminal holds the call: the stream comes back.
        tell(env, MediaCounter::Kept);
        return;
    }
    let flags = MediaFlags::from_bits_truncate(p.flags as u16);
    let binding = &mut p.binding;
    binding.flags = if both & line::UDPTL != 0 {
        flags | MediaFlags::UDPTL
    } else {
        flags
    };
    binding.advertised.addr[0] = p.terminal.addr[0];
    binding.advertised.addr[1] = p.terminal.addr[1];
    binding.advertised.port = u32::from(their_port);
    bind_slot(env, port);
    let muxed = both & line::MUX != 0;
    let next = rtcp == port.wrapping_add(1);
    let own_port = rtcp != 0 && rtcp != port && !env.is_signalling(rtcp);
    let allowed = own_port && (next || rtcp >= lowest && rtcp <= highest) && is_own(env, port);
    if both & line::RTP != 0 && !muxed && allowed && their_rtcp >= LEAST_PORT {
        p.binding.flags = flags | MediaFlags::RTCP;
        p.binding.advertised.port = u32::from(their_rtcp);
        bind_slot(env, rtcp);
    }
}

/// Whether the slot of a port serves the dialog end in the pairing. A PBX that is a proxy relays descriptions that others wrote,
/// which may name the port of somebody else's call.
#[inline(always)]
fn is_own<E: MediaSlots>(env: &E, port: u16) -> bool {
    let p = env.pairing();
    let own = p.binding.owner;
    env.owner(p.number, port)
        .is_some_and(|owner| (owner.call ^ own.call) | (owner.tag ^ own.tag) == 0)
}

/// Binds a slot to the stream in the pairing. One of another call gives way if that has ended.
#[inline(always)]
fn bind_slot<E: MediaSlots + Bindings + Clock>(env: &E, port: u16) {
    let p = env.pairing();
    if let Some(owner) = env.owner(p.number, port)
        && owner.call != p.binding.owner.call
        && (live_dialog(env, &owner).is_none() || env.draft().flags.contains(BindingFlags::ENDED))
    {
        env.clear(p.number, port);
    }
    env.bind(p.number, port);
}

/// Looks at the owner of a used slot. If its dialog has ended, so does the slot; else it lasts as long. If the dialog has moved to
/// another address, so does the stream. Returns false if the slot has ended.
#[inline(always)]
pub fn follow_owner<E: MediaSlots + Bindings + Clock>(env: &E, number: u32, port: u16) -> bool {
    let p = env.pairing();
    env.describe(number, port);
    let owner = DialogKey {
        call: p.binding.owner.call,
        tag: p.binding.owner.tag,
    };
    if live_dialog(env, &owner).is_none() || env.draft().flags.contains(BindingFlags::ENDED) {
        env.clear(number, port);
        return false;
    }
    let known = env.draft();
    let binding = &mut p.binding;
    let elsewhere =
        known.learned.addr[1] != binding.peer[1] || known.learned.addr[0] != binding.peer[0];
    binding.expires = known.expires;
    if elsewhere {
        binding.peer[0] = known.learned.addr[0];
        binding.peer[1] = known.learned.addr[1];
        binding.now = env.now();
        env.bind(number, port);
    } else {
        env.extend(number, port, known.expires);
    }
    true
}

/// Decides on a packet to the slot of a port from another address than its terminal's. The terminal may have moved to it: so its
/// owner was followed before. Strangers pass, unless the rule for the terminal is another one.
#[inline(always)]
pub fn guard<E: MediaSlots + Rules>(env: &E, number: u32, port: u16, source: &Endpoint) -> Guard {
    let guard = match env.guard(number, port, source) {
        Guard::Drop if env.shadow() => Guard::Count,
        guard => guard,
    };
    match guard {
        Guard::Off => {}
        Guard::Count => env.count_media(MediaCounter::WouldDrop),
        Guard::Drop => env.count_media(MediaCounter::Dropped),
    }
    guard
}
