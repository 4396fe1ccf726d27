//! Latching, latching again, and rewriting, row by row.

use nat_common::abi::{MediaFlags, MediaSlot, SECOND, ticks};
use nat_common::endpoint::Endpoint;
use nat_common::media::{self, Arrival, Arrived, Binding, Bound, Departed, Packet};

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
