//! Latching, latching again, and rewriting, row by row.

use nat_common::abi::{DialogKey, MediaFlags, MediaSlot, SECOND, TICK_SHIFT, ticks};
use nat_common::endpoint::Endpoint;
use nat_common::media::{
    self, Arrival, Arrived, Binding, Bound, Departed, Latch, LatchFlags, Packet,
};

use crate::{PRIVATE, STRANGER, learned};

const NAT: [u8; 4] = [60, 17, 196, 2];
const START: u64 = 1000 * SECOND;

/// First bytes of packets.
const RTP: [u8; 2] = [0x80, 0];
const RTCP: [u8; 2] = [0x80, 200];
const DTLS: [u8; 2] = [0x16, 0xfe];
const FAX: [u8; 2] = [0, 1];

struct Stream {
    slot: MediaSlot,
    now: u64,
    binding: Binding,
}

impl Stream {
    fn new(flags: MediaFlags) -> Self {
        let mut stream = Self {
            slot: MediaSlot::default(),
            now: START,
            binding: Binding {
                advertised: Endpoint::v4(PRIVATE, 4000),
                peer: Endpoint::v4(NAT, 0).addr,
                flags: flags | MediaFlags::REWRITE,
                ..Binding::default()
            },
        };
        assert_eq!(stream.bind(), Bound::New);
        stream
    }

    fn bind(&mut self) -> Bound {
        self.binding.now = self.now;
        self.binding.expires = self.now + 3600 * SECOND;
        // SAFETY: one thread.
        unsafe { media::bind(&raw mut self.slot, &self.binding) }
    }

    /// A packet arrives from a port of the NAT, with a source of the stream.
    fn from(&mut self, port: u16, bytes: [u8; 2], ssrc: u32) -> Arrived {
        self.arrives(Endpoint::v4(NAT, port), bytes, ssrc)
    }

    fn arrives(&mut self, source: Endpoint, [first, second]: [u8; 2], ssrc: u32) -> Arrived {
        let word = u64::from_le_bytes([first, second, 0, 1, 0, 0, 0, 1]);
        let arrival = Arrival {
            source,
            router: 0x0200_0000_0001,
            packet: Packet::read(172, word, ssrc.into()),
            tick: ticks(self.now),
        };
        // SAFETY: one thread.
        unsafe { media::arrive(&raw mut self.slot, &arrival) }
    }

    fn sends(&mut self, to: Endpoint) -> Departed {
        // SAFETY: one thread.
        unsafe { media::depart(&raw mut self.slot, &to) }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * SECOND / 1000;
    }

    fn wait_ticks(&mut self, ticks: u64) {
        self.now += ticks << TICK_SHIFT;
    }
}

#[test]
fn the_first_packet_latches_and_the_pbx_s_packets_follow() {
    let mut stream = Stream::new(MediaFlags::empty());
    let advertised = Endpoint::v4(PRIVATE, 4000);
    assert_eq!(stream.sends(advertised), Departed::Waiting);
    assert_eq!(stream.from(50_123, RTP, 7), Arrived::Latched);
    let to = Endpoint::v4(NAT, 50_123);
    let router = 0x0200_0000_0001;
    assert_eq!(stream.sends(advertised), Departed::Rewritten { to, router });
    // Another destination is another stream's.
    for other in [
        Endpoint::v4(PRIVATE, 4001),
        Endpoint::v4([192, 168, 1, 11], 4000),
        to,
    ] {
        assert_eq!(stream.sends(other), Departed::Elsewhere);
    }
    assert_eq!(stream.from(50_123, RTP, 7), Arrived::Known);
    assert_eq!((stream.slot.received, stream.slot.rewritten), (2, 1));
}

#[test]
fn nothing_is_rewritten_where_it_is_not_needed() {
    let mut stream = Stream::new(MediaFlags::empty());
    stream.from(4000, RTP, 7);
    stream.binding.flags = MediaFlags::empty();
    assert_eq!(stream.bind(), Bound::Same);
    assert_eq!(stream.sends(Endpoint::v4(PRIVATE, 4000)), Departed::Left);
    // The advertised address is the learned one.
    stream.binding.flags = MediaFlags::REWRITE;
    stream.binding.advertised = Endpoint::v4(NAT, 4000);
    assert_eq!(stream.bind(), Bound::New);
    stream.wait(2000);
    assert_eq!(stream.from(4000, RTP, 7), Arrived::Latched);
    assert_eq!(stream.sends(Endpoint::v4(NAT, 4000)), Departed::Left);
}

#[test]
fn a_slot_that_is_not_bound_does_nothing() {
    let mut stream = Stream::new(MediaFlags::empty());
    // SAFETY: one thread.
    unsafe {
        assert!(media::clear(&raw mut stream.slot));
        assert!(!media::clear(&raw mut stream.slot));
    }
    assert_eq!(stream.from(50_000, RTP, 7), Arrived::Unused);
    assert_eq!(stream.sends(Endpoint::v4(PRIVATE, 4000)), Departed::Unused);
    // Nothing is left of the stream before but its bar.
    stream.bind();
    assert_eq!(learned(&stream.slot), None);
}

/// What latches on a port of RTP, of RTCP and of fax; and what stays when a better packet comes from another port.
#[test]
fn kinds_of_packets() {
    let none = MediaFlags::empty();
    for (slot, first, then, port) in [
        (none, RTP, RTP, 1),
        (none, RTCP, RTP, 2),
        (none, DTLS, RTP, 2),
        (none, FAX, RTP, 2),
        (none, RTCP, DTLS, 1),
        (none, RTP, RTCP, 1),
        (MediaFlags::RTCP, RTCP, RTP, 1),
        (MediaFlags::RTCP, RTP, RTCP, 2),
        (MediaFlags::UDPTL, FAX, RTP, 1),
        (MediaFlags::UDPTL, RTP, FAX, 2),
        // No packet of fax begins so.
        (MediaFlags::UDPTL, [0xc0, 0], FAX, 2),
        (MediaFlags::UDPTL, RTP, [0xc0, 0], 1),
    ] {
        let mut stream = Stream::new(slot);
        assert_eq!(stream.from(1, first, 7), Arrived::Latched);
        stream.from(2, then, 8);
        assert_eq!(
            learned(&stream.slot),
            Some(port),
            "{slot:?} {first:?} {then:?}"
        );
    }
}

/// When another port of the same address is believed.
#[test]
fn latching_again() {
    // Milliseconds of silence, the port and source of the second packet, and whether it is believed.
    for (what, silence, port, ssrc, believed) in [
        ("another source", 20, 50_001, 8, false),
        (
            "the same source: the NAT's mapping has changed",
            20,
            50_001,
            7,
            true,
        ),
        ("silence of less than a second", 900, 50_001, 8, false),
        ("silence of a second", 1100, 50_001, 8, true),
        (
            "the advertised port, in the first three seconds",
            20,
            4000,
            8,
            true,
        ),
    ] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        stream.wait(silence);
        let arrived = stream.from(port, RTP, ssrc);
        assert_eq!(
            arrived == Arrived::Relatched,
            believed,
            "{what}: {arrived:?}"
        );
        assert_eq!(
            learned(&stream.slot),
            Some(if believed { port } else { 50_000 }),
            "{what}"
        );
    }
    // Later, the advertised port is not preferred.
    let mut stream = Stream::new(MediaFlags::empty());
    for _ in 0..40 {
        stream.from(50_000, RTP, 7);
        stream.wait(100);
    }
    assert_eq!(stream.from(4000, RTP, 8), Arrived::Rival);
    // Of fax, which has no source, two seconds.
    for (silence, believed) in [(1100, false), (2200, true)] {
        let mut stream = Stream::new(MediaFlags::UDPTL);
        stream.from(50_000, FAX, 0);
        stream.wait(silence);
        assert_eq!(
            stream.from(50_001, FAX, 0) == Arrived::Relatched,
            believed,
            "{silence}"
        );
    }
}

/// A stream that goes on is not silent, whatever the time between two notes of it.
#[test]
fn a_stream_that_goes_on_keeps_its_port() {
    let mut stream = Stream::new(MediaFlags::empty());
    for packet in 0..1000 {
        assert_ne!(stream.from(50_000, RTP, 7), Arrived::Rival, "{packet}");
        stream.wait(20);
        assert_eq!(stream.from(50_001, RTP, 8), Arrived::Rival, "{packet}");
    }
}

#[test]
fn strangers_never_latch() {
    let mut stream = Stream::new(MediaFlags::empty());
    assert_eq!(stream.arrives(STRANGER, RTP, 7), Arrived::Stranger);
    assert_eq!(learned(&stream.slot), None);
    stream.from(50_000, RTP, 7);
    stream.wait(10_000);
    assert_eq!(stream.arrives(STRANGER, RTP, 7), Arrived::Stranger);
    assert_eq!(learned(&stream.slot), Some(50_000));
    assert_eq!(stream.slot.strangers, 2);
}

/// After a new offer, late packets of the stream before do not latch.
#[test]
fn another_description_forgets_the_port() {
    let mut stream = Stream::new(MediaFlags::empty());
    stream.from(50_000, RTP, 7);
    assert_eq!(stream.bind(), Bound::Same);
    assert_eq!(learned(&stream.slot), Some(50_000));
    stream.binding.advertised.port = 4010;
    assert_eq!(stream.bind(), Bound::New);
    assert_eq!(learned(&stream.slot), None);
    assert_eq!(stream.from(50_000, RTP, 7), Arrived::Rival);
    assert_eq!(stream.from(50_002, RTP, 9), Arrived::Latched);
    // A second later the same port may be the new stream's.
    stream.binding.advertised.port = 4020;
    stream.bind();
    stream.wait(1100);
    assert_eq!(stream.from(50_002, RTP, 9), Arrived::Latched);
}

/// A clock of another CPU that is behind is no silence of 50 days.
#[test]
fn a_clock_that_is_behind() {
    let mut stream = Stream::new(MediaFlags::empty());
    stream.from(50_000, RTP, 7);
    stream.now -= SECOND / 100;
    assert_eq!(stream.from(50_001, RTP, 8), Arrived::Rival);
}

/// Audio becomes fax at the same ports: the phone's socket is the same, and is heard before its first packet of fax. A packet
/// of audio that is under way changes nothing, and one of fax wins from wherever it comes.
#[test]
fn another_kind_keeps_the_port() {
    let mut stream = Stream::new(MediaFlags::empty());
    stream.from(50_000, RTP, 7);
    stream.binding.flags |= MediaFlags::UDPTL;
    assert_eq!(stream.bind(), Bound::New);
    assert_eq!(learned(&stream.slot), Some(50_000));
    assert_eq!(stream.from(50_002, RTP, 7), Arrived::Rival);
    assert_eq!(stream.from(50_002, FAX, 0), Arrived::Relatched);
    // Never heard, it does not become known.
    let mut stream = Stream::new(MediaFlags::empty());
    stream.binding.flags |= MediaFlags::UDPTL;
    stream.bind();
    assert_eq!(learned(&stream.slot), None);
}

/// A NAT that forwards the advertised port: packets of the PBX go there until the first one comes from elsewhere.
#[test]
fn a_forwarded_port_is_used_before_the_first_packet() {
    let advertised = Endpoint::v4(PRIVATE, 4000);
    let mut stream = Stream::new(MediaFlags::FORWARDED);
    let to = Endpoint::v4(NAT, 4000);
    assert_eq!(stream.sends(advertised), Departed::Forwarded { to });
    assert_eq!(stream.sends(to), Departed::Elsewhere);
    stream.from(50_123, RTP, 7);
    let to = Endpoint::v4(NAT, 50_123);
    let router = 0x0200_0000_0001;
    assert_eq!(stream.sends(advertised), Departed::Rewritten { to, router });
    // Not where nothing may be rewritten.
    let mut stream = Stream::new(MediaFlags::empty());
    stream.binding.flags = MediaFlags::FORWARDED;
    stream.bind();
    assert_eq!(stream.sends(advertised), Departed::Waiting);
}

/// The silence after which another port is believed: of RTP, and of what has no source.
#[test]
fn silence_ends_with_a_tick() {
    for (slot, bytes, silence) in [
        (MediaFlags::empty(), RTP, ticks(SECOND)),
        (MediaFlags::RTCP, RTCP, ticks(2 * SECOND)),
        (MediaFlags::UDPTL, FAX, ticks(2 * SECOND)),
    ] {
        for (wait, arrived) in [(silence - 1, Arrived::Rival), (silence, Arrived::Relatched)] {
            let mut stream = Stream::new(slot);
            stream.from(50_000, bytes, 7);
            stream.wait_ticks(wait);
            assert_eq!(stream.from(50_001, bytes, 8), arrived, "{slot:?} {wait}");
        }
    }
}

/// The port of the stream before is barred for a second, and no other port is.
#[test]
fn a_bar_ends_with_a_tick() {
    let second = ticks(SECOND);
    for (wait, port, arrived) in [
        (second - 1, 50_000, Arrived::Rival),
        (second - 1, 50_001, Arrived::Latched),
        (second, 50_000, Arrived::Latched),
    ] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        stream.binding.advertised.port = 4010;
        assert_eq!(stream.bind(), Bound::New);
        stream.wait_ticks(wait);
        assert_eq!(stream.from(port, RTP, 9), arrived, "{wait} {port}");
    }
}

/// The advertised port is preferred in the first three seconds, and only for packets of the stream's own kind.
#[test]
fn a_stream_settles_with_a_tick() {
    let settled = ticks(3 * SECOND);
    for (last, port, bytes, arrived) in [
        (settled - 1, 4000, RTP, Arrived::Relatched),
        (settled - 1, 4001, RTP, Arrived::Rival),
        (settled - 1, 4000, RTCP, Arrived::Rival),
        (settled, 4000, RTP, Arrived::Rival),
    ] {
        let mut stream = Stream::new(MediaFlags::empty());
        let mut age = 0;
        while age + 400 < last {
            stream.from(50_000, RTP, 7);
            stream.wait_ticks(400);
            age += 400;
        }
        stream.from(50_000, RTP, 7);
        stream.wait_ticks(last - age);
        assert_eq!(stream.from(port, bytes, 8), arrived, "{last} {port}");
    }
}

/// A stream that goes on is written once in 256 ticks.
#[test]
fn the_time_of_a_stream_is_noted_now_and_then() {
    for (wait, is_noted) in [(255, false), (256, true)] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        let first = ticks(stream.now) as u32;
        stream.wait_ticks(wait);
        assert_eq!(stream.from(50_000, RTP, 7), Arrived::Known);
        let noted = if is_noted {
            ticks(stream.now) as u32
        } else {
            first
        };
        assert_eq!(Latch::from_word(stream.slot.latch).seen, noted, "{wait}");
    }
}

/// A stream is guarded for half a minute after its last packet, and serves its call for two seconds.
#[test]
fn a_guard_ends_with_a_tick() {
    let limit = ticks(30 * SECOND);
    for (wait, is_intruder) in [(limit - 1, true), (limit, false)] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        stream.wait_ticks(wait);
        // SAFETY: one thread.
        let found =
            unsafe { media::is_intruder(&raw mut stream.slot, &STRANGER, ticks(stream.now)) };
        assert_eq!(found, is_intruder, "{wait}");
    }
    let limit = ticks(2 * SECOND);
    for (wait, bound) in [(limit - 1, Bound::Taken), (limit, Bound::New)] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        stream.sends(stream.binding.advertised);
        stream.wait_ticks(wait);
        stream.binding.owner = DialogKey { call: 8, tag: 9 };
        assert_eq!(stream.bind(), bound, "{wait}");
    }
}

/// Which descriptions make another stream of a slot, and what stays of the one before.
#[test]
fn another_stream() {
    type Change = fn(&mut Binding);
    let changes: [(Change, Bound, Option<u16>); 11] = [
        (|_| (), Bound::Same, Some(50_000)),
        (
            |b| b.flags |= MediaFlags::FORWARDED,
            Bound::Same,
            Some(50_000),
        ),
        (|b| b.flags |= MediaFlags::RTCP, Bound::New, Some(50_000)),
        (|b| b.flags |= MediaFlags::UDPTL, Bound::New, Some(50_000)),
        (|b| b.advertised.port += 1, Bound::New, None),
        (|b| b.advertised.addr[0] ^= 1, Bound::New, None),
        (|b| b.advertised.addr[1] ^= 1 << 63, Bound::New, None),
        (|b| b.peer[0] ^= 1, Bound::New, None),
        (|b| b.peer[1] ^= 1 << 63, Bound::New, None),
        (|b| b.owner.call ^= 1, Bound::New, None),
        (|b| b.owner.tag ^= 1, Bound::New, None),
    ];
    for (number, (change, bound, port)) in changes.into_iter().enumerate() {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.from(50_000, RTP, 7);
        stream.sends(Endpoint::v4(PRIVATE, 4000));
        stream.arrives(STRANGER, RTP, 9);
        // SAFETY: one thread.
        unsafe { media::note_dropped(&raw mut stream.slot) };
        stream.wait(3000);
        change(&mut stream.binding);
        let before = stream.slot.tag;
        assert_eq!(stream.bind(), bound, "{number}");
        let generations = (stream.slot.tag >> 2) - (before >> 2);
        assert_eq!(generations, u64::from(bound == Bound::New), "{number}");
        let latch = Latch::from_word(stream.slot.latch);
        let of_slot = (stream.slot.tag >> 2) as u16;
        assert_eq!(latch.generation, of_slot, "{number}");
        let (slot, binding) = (&stream.slot, &stream.binding);
        assert_eq!(learned(slot), port, "{number}");
        assert_eq!(slot.advertised(), binding.advertised);
        assert_eq!((slot.peer_addr, slot.owner), (binding.peer, binding.owner));
        assert_eq!((slot.flags, slot.expires), (binding.flags, binding.expires));
        assert_eq!(slot.checked, ticks(stream.now));
        let counts = [slot.received, slot.rewritten, slot.strangers, slot.dropped];
        let is_new = bound == Bound::New;
        assert_eq!(counts, [u32::from(!is_new); 4], "{number}");
        assert_eq!((slot.ssrc == 0, slot.stranger == 0), (is_new, is_new));
        let created = if is_new { stream.now } else { START };
        assert_eq!(slot.created, created, "{number}");
    }
    // One that has expired is another one, too.
    for (seconds, bound) in [(3599, Bound::Same), (3600, Bound::New)] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.wait(seconds * 1000);
        assert_eq!(stream.bind(), bound, "{seconds}");
    }
}

/// A look at the owner is due now and then.
#[test]
fn a_look_at_the_owner() {
    let mut stream = Stream::new(MediaFlags::empty());
    let bound = ticks(stream.now);
    // SAFETY: one thread.
    let mut is_due = |tick| unsafe { media::is_due(&raw mut stream.slot, tick, 100) };
    assert!(!is_due(bound + 99) && is_due(bound + 100));
    assert!(!is_due(bound + 199) && is_due(bound + 200));
    assert!(!is_due(bound), "a clock that is behind");
}

/// The latch holds the low bits of the slot's generation, however often the slot was bound.
#[test]
fn a_slot_that_was_bound_many_times() {
    let mut stream = Stream::new(MediaFlags::empty());
    for port in 0..5000 {
        stream.binding.advertised.port = 4000 + port % 2;
        stream.bind();
    }
    let latch = Latch::from_word(stream.slot.latch);
    assert_eq!(latch.generation, (stream.slot.tag >> 2) as u16 & 0xfff);
    // Nobody was heard: nothing is barred.
    assert_eq!((latch.port, latch.flags), (0, LatchFlags::empty()));
}

/// A better packet from the learned port makes the latch as good as that, and a worse one makes it no worse.
#[test]
fn a_latch_is_as_good_as_its_best_packet() {
    for (first, then) in [(RTCP, RTP), (RTP, RTCP)] {
        let mut stream = Stream::new(MediaFlags::empty());
        assert_eq!(stream.from(1, first, 7), Arrived::Latched);
        stream.wait_ticks(if first == RTP { 256 } else { 1 });
        assert_eq!(stream.from(1, then, 7), Arrived::Known);
        assert_eq!(stream.from(2, RTP, 8), Arrived::Rival, "{first:?}");
    }
}

/// A source of 0 is none by which a stream is known again.
#[test]
fn streams_without_a_source_are_not_the_same() {
    let mut stream = Stream::new(MediaFlags::empty());
    stream.from(1, RTP, 0);
    assert_eq!(stream.from(2, RTP, 0), Arrived::Rival);
}

/// Each half of an address counts with IPv6.
#[test]
fn addresses_of_ipv6() {
    let at = |network, host, port| Endpoint {
        addr: [network, host],
        port,
        reserved: 0,
    };
    let mut stream = Stream::new(MediaFlags::empty());
    stream.binding.peer = [0x2001, 1];
    stream.binding.advertised = at(0x2002, 2, 4000);
    assert_eq!(stream.bind(), Bound::New);
    for (network, host) in [(0x2003, 1), (0x2001, 3)] {
        let arrived = stream.arrives(at(network, host, 50_000), RTP, 7);
        assert_eq!(arrived, Arrived::Stranger, "{network:x} {host}");
    }
    let phone = at(0x2001, 1, 50_000);
    assert_eq!(stream.arrives(phone, RTP, 7), Arrived::Latched);
    let router = 0x0200_0000_0001;
    for (network, host, departed) in [
        (0x2002, 2, Departed::Rewritten { to: phone, router }),
        (0x2003, 2, Departed::Elsewhere),
        (0x2002, 3, Departed::Elsewhere),
    ] {
        assert_eq!(stream.sends(at(network, host, 4000)), departed);
    }
    // SAFETY: one thread.
    let mut restored = |source| unsafe { media::advertised_source(&raw mut stream.slot, &source) };
    assert_eq!(restored(phone), Some(at(0x2002, 2, 4000)));
    assert_eq!(restored(at(0x2003, 1, 50_000)), None);
    assert_eq!(restored(at(0x2001, 3, 50_000)), None);
    let mut described = Binding::default();
    // SAFETY: one thread.
    unsafe { media::describe(&raw mut stream.slot, &mut described) };
    let of = |b: &Binding| (b.advertised, b.peer, b.owner, b.flags, b.expires);
    assert_eq!(of(&described), of(&stream.binding));
}

/// Which stream gives way to which other one.
#[test]
fn streams_of_forks_and_of_other_calls() {
    const EARLY: MediaFlags = MediaFlags::EARLY;
    let none = MediaFlags::empty();
    let [own, fork, other] = [(1, 1), (1, 2), (2, 1)].map(|(call, tag)| DialogKey { call, tag });
    for (known, heard, life, new, owner, bound) in [
        // An early fork of an accepted call, another dialog of it, or another call.
        (none, false, 3600, EARLY, fork, Bound::Accepted),
        (none, false, 3600, EARLY, own, Bound::Same),
        (none, false, 3600, EARLY, other, Bound::New),
        (none, false, 1, EARLY, fork, Bound::New),
        (EARLY, false, 3600, EARLY, fork, Bound::New),
        (none, false, 3600, none, fork, Bound::New),
        // One that is heard.
        (none, true, 3600, none, other, Bound::Taken),
        (none, true, 3600, none, fork, Bound::Taken),
        (none, true, 3600, none, own, Bound::Same),
        (EARLY, true, 3600, none, other, Bound::Taken),
        (EARLY, true, 3600, none, fork, Bound::New),
        (none, true, 1, none, other, Bound::New),
    ] {
        let mut stream = Stream::new(none);
        stream.binding.owner = own;
        stream.binding.flags = known;
        stream.binding.now = stream.now;
        stream.binding.expires = stream.now + life * SECOND;
        // SAFETY: one thread.
        unsafe { media::bind(&raw mut stream.slot, &stream.binding) };
        if heard {
            stream.from(50_000, RTP, 7);
            stream.sends(stream.binding.advertised);
        }
        stream.wait(1000);
        stream.binding.owner = owner;
        stream.binding.flags = new;
        assert_eq!(stream.bind(), bound, "{known:?} {heard} {new:?} {owner:?}");
        // A slot that is empty is anybody's.
        // SAFETY: one thread.
        unsafe {
            media::clear(&raw mut stream.slot);
            assert_eq!(media::owner(&raw mut stream.slot), None);
        }
        stream.binding.owner = fork;
        assert_eq!(stream.bind(), Bound::New);
    }
}

/// A stream that is heard gives way to another call until the PBX has sent to it. Who is heard at a port that no call has gets nothing from
/// the PBX. Of a stream that is not rewritten sipnat does not know whether the PBX has.
#[test]
fn a_stream_to_which_the_pbx_has_not_sent() {
    let [own, fork, other] = [(1, 1), (1, 2), (2, 1)].map(|(call, tag)| DialogKey { call, tag });
    let [here, elsewhere] = [4000, 4010].map(|port| Some(Endpoint::v4(PRIVATE, port)));
    for (rewrite, to, owner, bound) in [
        (true, None, other, Bound::New),
        (true, elsewhere, other, Bound::New),
        (true, here, other, Bound::Taken),
        (false, None, other, Bound::Taken),
        (true, None, fork, Bound::Taken),
    ] {
        let mut stream = Stream::new(MediaFlags::empty());
        stream.binding.owner = own;
        stream.binding.flags.set(MediaFlags::REWRITE, rewrite);
        stream.bind();
        stream.from(50_000, RTP, 7);
        if let Some(to) = to {
            stream.sends(to);
        }
        stream.binding.owner = owner;
        assert_eq!(stream.bind(), bound, "{rewrite} {to:?} {owner:?}");
    }
}
