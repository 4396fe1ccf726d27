//! The guard: which packets from other addresses it drops, row by row.

use nat_common::abi::{Guard, MediaCounter, MediaFlags, MediaSlot, SECOND, ticks};
use nat_common::endpoint::Endpoint;
use nat_common::engine::media as decide;
use nat_common::media::{self, Arrival, Arrived, Binding, Packet};

use crate::{Call, PBX, PHONE, PRIVATE, STRANGER, sdp};

const PORT: u16 = 20_000;

/// A packet arrives at the port of the call. Returns what the guard does.
fn arrives(call: &Call, source: Endpoint) -> Guard {
    let env = &call.env;
    let arrival = Arrival {
        source,
        router: 1,
        packet: Packet::read(172, 0x80, 7),
        tick: ticks(env.now.get()),
    };
    let arrived = {
        let mut media = env.media.borrow_mut();
        let slot = media.get_mut(&(0, PORT)).expect("a slot");
        // SAFETY: one thread.
        unsafe { media::arrive(slot, &arrival) }
    };
    if arrived != Arrived::Stranger {
        return Guard::Off;
    }
    decide::follow_owner(env, 0, PORT);
    decide::guard(env, 0, PORT, &source)
}

/// A call in which the phone was heard, with a guard that drops.
fn guarded() -> Call {
    let call = Call::of_phone();
    call.env.guard.set(Guard::Drop);
    assert_eq!(arrives(&call, phone()), Guard::Off);
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
    call.events();
    call
}

/// Source of the phone's audio.
fn phone() -> Endpoint {
    Endpoint::v4(PHONE.as_v4(), 50_123)
}

#[test]
fn strangers_are_dropped_and_the_phone_is_not() {
    let call = guarded();
    for source in [phone(), Endpoint::v4(PHONE.as_v4(), 50_999)] {
        assert_eq!(arrives(&call, source), Guard::Off);
    }
    // Nobody sends from a private address that only the PBX believes in.
    for source in [STRANGER, Endpoint::v4(PRIVATE, 4000)] {
        assert_eq!(arrives(&call, source), Guard::Drop);
        assert_eq!(call.events(), [MediaCounter::Dropped]);
    }
    for (guard, shadow, expected, events) in [
        (Guard::Off, false, Guard::Off, &[][..]),
        (
            Guard::Count,
            false,
            Guard::Count,
            &[MediaCounter::WouldDrop],
        ),
        (Guard::Drop, true, Guard::Count, &[MediaCounter::WouldDrop]),
    ] {
        call.env.guard.set(guard);
        call.env.shadow.set(shadow);
        assert_eq!(arrives(&call, STRANGER), expected, "{guard} {shadow}");
        assert_eq!(call.events(), events);
    }
}

/// Nobody knows where the audio of a call will come from before the terminal itself was heard.
#[test]
fn nothing_is_dropped_before_the_first_packet() {
    let call = Call::of_phone();
    call.env.guard.set(Guard::Drop);
    for _ in 0..100 {
        assert_eq!(arrives(&call, STRANGER), Guard::Off);
    }
}

#[test]
fn nothing_is_dropped_before_the_call_is_accepted() {
    let mut call = Call::new(true);
    call.env.guard.set(Guard::Drop);
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    call.pbx(
        "SIP/2.0 183 Progress",
        "1 INVITE",
        "1",
        &sdp(PBX.as_v4(), PORT, ""),
    );
    assert_eq!(arrives(&call, phone()), Guard::Off);
    assert_eq!(arrives(&call, STRANGER), Guard::Off);
    call.accepts(&sdp(PBX.as_v4(), PORT, ""));
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
}

/// A call whose BYE was lost leaves its slot. Its port is free as soon as the PBX may have given it to somebody else.
#[test]
fn nothing_is_dropped_when_the_terminal_is_silent() {
    let call = guarded();
    call.wait(29);
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
    call.wait(2);
    assert_eq!(arrives(&call, STRANGER), Guard::Off);
    arrives(&call, phone());
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
}

/// The PBX offers the port to another terminal, whose first packets may come before its answer.
#[test]
fn nothing_is_dropped_after_an_offer_of_the_port() {
    let call = guarded();
    let mut other = Call::new(false);
    other.id = "8@other";
    other.env = call.env;
    other.is_called(&sdp(PBX.as_v4(), PORT, ""));
    assert_eq!(arrives(&other, STRANGER), Guard::Off);
    // Its answer comes, and the port is its own.
    other.wait(3);
    other.to_tag = "other";
    other.arrives(
        STRANGER,
        "SIP/2.0 200 OK",
        "1 INVITE",
        "1",
        &sdp(PRIVATE, 4000, ""),
    );
    assert_eq!(arrives(&other, STRANGER), Guard::Off);
}

/// The same in mid-call: a terminal may answer from another host. Its answer closes the port again.
#[test]
fn nor_after_an_offer_in_the_call() {
    let mut call = Call::new(false);
    let offer = sdp(PBX.as_v4(), PORT, "");
    let answer = sdp(PRIVATE, 4000, "");
    call.is_called(&offer);
    call.to_tag = "phone";
    call.answers(&answer);
    call.env.guard.set(Guard::Drop);
    assert_eq!(arrives(&call, phone()), Guard::Off);
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
    call.pbx("INVITE sip:1000@phone SIP/2.0", "2 INVITE", "7", &offer);
    assert_eq!(arrives(&call, STRANGER), Guard::Off);
    call.phone("SIP/2.0 200 OK", "2 INVITE", "7", &answer);
    assert_eq!(arrives(&call, STRANGER), Guard::Drop);
}

/// RTCP has a slot of its own, which opens and closes as that of RTP does.
#[test]
fn the_port_of_rtcp_opens_as_well() {
    let call = guarded();
    let flags = |port| call.env.media.borrow()[&(0, port)].flags;
    assert!(!flags(PORT + 1).contains(MediaFlags::OPEN));
    call.pbx(
        "INVITE sip:1000@phone SIP/2.0",
        "2 INVITE",
        "7",
        &sdp(PBX.as_v4(), PORT, ""),
    );
    for port in [PORT, PORT + 1] {
        assert!(flags(port).contains(MediaFlags::OPEN), "{port}");
    }
    // Following the owner to another address closes nothing.
    decide::follow_owner(&call.env, 0, PORT);
    assert!(flags(PORT).contains(MediaFlags::OPEN));
}

/// So does each line of the description.
#[test]
fn the_ports_of_all_lines_open() {
    let lines = |first: u16| -> String {
        let line = |n| format!("m=video {} RTP/AVP 99\r\n", first + n);
        [2, 4, 6].map(line).concat()
    };
    let mut call = Call::new(true);
    call.invites(&sdp(PRIVATE, 4000, &lines(4000)));
    call.to_tag = "pbx";
    let answer = sdp(PBX.as_v4(), PORT, &lines(PORT));
    call.accepts(&answer);
    let is_open = |port| {
        call.env.media.borrow()[&(0, port)]
            .flags
            .contains(MediaFlags::OPEN)
    };
    let ports = PORT..PORT + 8;
    assert!(!ports.clone().any(is_open));
    call.pbx("INVITE sip:1000@phone SIP/2.0", "2 INVITE", "7", &answer);
    assert!(ports.clone().all(is_open));
}

#[test]
fn a_port_of_a_call_that_has_ended_is_anybody_s() {
    let call = guarded();
    call.phone("BYE sip:2000@pbx SIP/2.0", "2 BYE", "9", "");
    call.pbx("SIP/2.0 200 OK", "2 BYE", "9", "");
    assert_eq!(arrives(&call, STRANGER), Guard::Off);
}

/// A slot for which a terminal's description is public: carriers send from there, beside their SIP.
#[test]
fn a_public_address_in_the_description_may_send() {
    let v6 = |last| Endpoint {
        addr: [u64::from_ne_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]), last],
        port: 4000,
        reserved: 0,
    };
    let other_net = Endpoint {
        addr: [u64::from_ne_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 2]), 1],
        ..v6(1)
    };
    let carrier = Endpoint::v4([198, 51, 100, 5], 4000);
    let none = MediaFlags::empty();
    let rewrite = MediaFlags::REWRITE;
    for (advertised, peer, flags, source, intruder) in [
        (carrier, PHONE, none, carrier, false),
        (carrier, PHONE, rewrite, carrier, false),
        (carrier, PHONE, none, STRANGER, true),
        // A private address that can be reached, as by a VPN.
        (
            Endpoint::v4(PRIVATE, 1),
            PHONE,
            none,
            Endpoint::v4(PRIVATE, 9),
            false,
        ),
        (
            Endpoint::v4(PRIVATE, 1),
            PHONE,
            rewrite,
            Endpoint::v4(PRIVATE, 9),
            true,
        ),
        // A host has a /64 of IPv6.
        (v6(1), v6(2), none, v6(99), false),
        (v6(1), v6(2), none, other_net, true),
        // The terminal's signalling comes from there, too.
        (Endpoint::v4(PRIVATE, 1), v6(2), rewrite, v6(99), false),
        (Endpoint::v4(PRIVATE, 1), v6(2), rewrite, other_net, true),
        // SIP and media of different versions of IP.
        (v6(1), PHONE, none, v6(7), false),
    ] {
        let mut slot = MediaSlot::default();
        let now = 1000 * SECOND;
        let binding = Binding {
            advertised,
            peer: peer.addr,
            flags,
            now,
            expires: now + SECOND,
            ..Binding::default()
        };
        let arrival = Arrival {
            source: Endpoint { port: 9, ..peer },
            router: 1,
            packet: Packet::read(172, 0x80, 7),
            tick: ticks(now),
        };
        // SAFETY: one thread.
        let found = unsafe {
            media::bind(&raw mut slot, &binding);
            assert_eq!(media::arrive(&raw mut slot, &arrival), Arrived::Latched);
            media::is_intruder(&raw mut slot, &source, ticks(now))
        };
        assert_eq!(found, intruder, "{advertised:?} {flags:?} {source:?}");
    }
}
