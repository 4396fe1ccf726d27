//! Attacks on the streams of others.

use nat_common::abi::{MediaCounter, ticks};
use nat_common::endpoint::Endpoint;
use nat_common::media::{self, Arrival, Arrived, Departed, Packet};
use nat_test_oracle::env::MemoryEnv;

use crate::{Call, PBX, PHONE, PRIVATE, STRANGER, sdp};

/// A stranger knows Call-ID, tags and branch, and writes another description.
#[test]
fn a_stranger_s_description_does_not_count() {
    for stranger_first in [true, false] {
        let mut call = Call::new(true);
        let start = "INVITE sip:2000@pbx SIP/2.0";
        let phone = |call: &Call| call.phone(start, "1 INVITE", "1", &sdp(PRIVATE, 4000, ""));
        let stranger =
            |call: &Call| call.arrives(STRANGER, start, "1 INVITE", "1", &sdp(PRIVATE, 666, ""));
        if stranger_first {
            stranger(&call);
            phone(&call);
        } else {
            phone(&call);
            stranger(&call);
        }
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(call.slots(), [], "{stranger_first}");
    }
}

/// The same within a dialog, which is live whoever asks.
#[test]
fn nor_within_a_dialog() {
    let call = Call::of_phone();
    let before = call.slots();
    let start = "INVITE sip:2000@pbx SIP/2.0";
    call.arrives(STRANGER, start, "2 INVITE", "3", &sdp(PRIVATE, 666, ""));
    call.phone(start, "2 INVITE", "3", &sdp(PRIVATE, 4010, ""));
    call.pbx(
        "SIP/2.0 200 OK",
        "2 INVITE",
        "3",
        &sdp(PBX.as_v4(), 20_000, ""),
    );
    assert_eq!(call.slots(), before);
}

/// Somebody forges the phone's source as well.
#[test]
fn two_descriptions_of_one_transaction_count_for_nothing() {
    for other in [
        sdp(PRIVATE, 666, ""),
        sdp([10, 0, 0, 1], 4000, ""),
        sdp(PRIVATE, 4000, "m=video 9 RTP/AVP 9\r\n"),
    ] {
        let mut call = Call::new(true);
        let start = "INVITE sip:2000@pbx SIP/2.0";
        call.phone(start, "1 INVITE", "1", &sdp(PRIVATE, 4000, ""));
        call.phone(start, "1 INVITE", "1", &other);
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(call.slots(), [], "{other}");
        assert!(call.events().contains(&MediaCounter::Ambiguous));
    }
}

/// An answer from another host than the one that was asked.
#[test]
fn a_stranger_s_answer_does_not_count() {
    let mut call = Call::new(false);
    call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
    call.to_tag = "phone";
    call.arrives(
        STRANGER,
        "SIP/2.0 200 OK",
        "1 INVITE",
        "1",
        &sdp(PRIVATE, 666, ""),
    );
    assert_eq!(call.slots(), []);
    call.answers(&sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots()[0].1, "192.168.1.10:4000");
}

/// A flood of offers pushes out offers of others, and no slot.
#[test]
fn a_flood_of_offers_leaves_slots_alone() {
    let call = Call::of_phone();
    let before = call.slots();
    let mut flood = Call::new(true);
    flood.env = call.env;
    for index in 0..2000_u32 {
        let branch = format!("flood{index}");
        let source = Endpoint::v4([198, 51, (index >> 8) as u8, index as u8], 5060);
        flood.arrives(
            source,
            "INVITE sip:x@pbx SIP/2.0",
            "1 INVITE",
            &branch,
            &sdp(PRIVATE, 4000, ""),
        );
    }
    assert_eq!(flood.slots(), before);
}

/// The PBX hears the phone at the port of its audio.
pub(crate) fn hear(env: &MemoryEnv) -> Arrived {
    hear_from(env, PHONE)
}

/// The PBX hears a host there.
fn hear_from(env: &MemoryEnv, host: Endpoint) -> Arrived {
    // Each has another port: that of the stream before is barred for a second.
    let port = if host == PHONE { 50_123 } else { 50_124 };
    let arrival = Arrival {
        source: Endpoint::v4(host.as_v4(), port),
        router: 1,
        packet: Packet::read(172, 0x80, 7),
        tick: ticks(env.now.get()),
    };
    let mut media = env.media.borrow_mut();
    // SAFETY: one thread.
    unsafe { media::arrive(media.get_mut(&(0, 20_000)).expect("bound"), &arrival) }
}

/// A call of the phone that goes on: each side hears the other.
pub(crate) fn going_on() -> Call {
    let call = Call::of_phone();
    assert_eq!(hear(&call.env), Arrived::Latched);
    assert!(matches!(speak(&call.env), Departed::Rewritten { .. }));
    call
}

/// The PBX sends audio from there to the address in the phone's description.
fn speak(env: &MemoryEnv) -> Departed {
    let mut media = env.media.borrow_mut();
    let slot = media.get_mut(&(0, 20_000)).expect("bound");
    // SAFETY: one thread.
    unsafe { media::depart(slot, &Endpoint::v4(PRIVATE, 4000)) }
}

/// The attacker calls with a stream at a port, and a friend's answer, which the PBX relays, names the port of the phone's audio.
fn attack(other: &mut Call, cseq: &str, port: u16) {
    other.to_tag = "";
    let (invite, branch) = (format!("{cseq} INVITE"), format!("attack{cseq}"));
    let body = sdp(PRIVATE, port, "");
    other.arrives(
        STRANGER,
        "INVITE sip:x@pbx SIP/2.0",
        &invite,
        &branch,
        &body,
    );
    other.to_tag = "friend";
    let body = sdp(PBX.as_v4(), 20_000, "");
    other.pbx("SIP/2.0 200 OK", &invite, &branch, &body);
}

/// A PBX that is a proxy relays descriptions that others wrote: one names the port of somebody else's call.
#[test]
fn another_call_does_not_take_the_port_of_one_that_goes_on() {
    let call = going_on();
    let before = call.slots();
    let mut other = Call::new(true);
    other.id = "8@attacker";
    other.env = call.env;
    attack(&mut other, "1", 4000);
    assert_eq!(other.slots(), before);
    assert!(other.events().contains(&MediaCounter::Guarded));
    // A stream that is refused ends none of another call.
    attack(&mut other, "2", 0);
    assert_eq!(other.slots(), before);
    // When the call is silent, the PBX uses the port anew.
    other.wait(3);
    attack(&mut other, "3", 4000);
    assert_eq!(other.slots()[0].2, "198.51.100.66:0");
    attack(&mut other, "4", 0);
    assert_eq!(other.slots().len(), 1);
}

/// He does so before the PBX has given the port to a call, and goes on sending there. He names the address that the phone will
/// have in its description: the PBX's packets to it do not go to him.
#[test]
fn a_port_that_was_named_before_its_call_is_that_call_s() {
    let mut other = Call::new(true);
    other.id = "8@attacker";
    attack(&mut other, "1", 4000);
    assert_eq!(hear_from(&other.env, STRANGER), Arrived::Latched);
    let mut call = Call::new(true);
    call.env = other.env;
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots()[0].2, "60.17.196.2:0");
    assert_eq!(hear_from(&call.env, STRANGER), Arrived::Stranger);
    assert_eq!(hear(&call.env), Arrived::Latched);
    let to = Endpoint::v4(PHONE.as_v4(), 50_123);
    let goes = Departed::Rewritten { to, router: 1 };
    assert_eq!(speak(&call.env), goes);
    // From now on, the call goes on.
    let mut other = Call::new(true);
    other.id = "8@attacker";
    other.env = call.env;
    attack(&mut other, "2", 4000);
    assert_eq!(speak(&other.env), goes);
    assert!(other.events().contains(&MediaCounter::Guarded));
}

/// The same under the Call-ID of the victim's call, which he knows because he was rung.
#[test]
fn another_dialog_of_the_call_does_not_take_its_port() {
    let call = going_on();
    let before = call.slots();
    let mut other = Call::new(true);
    other.from_tag = "attacker";
    other.env = call.env;
    attack(&mut other, "1", 4000);
    assert_eq!(other.slots(), before);
    attack(&mut other, "2", 0);
    assert_eq!(other.slots(), before);
}

/// A port of a call that has ended is free at once.
#[test]
fn the_port_of_a_call_that_has_ended_is_free() {
    let call = Call::of_phone();
    let arrival = Arrival {
        source: Endpoint::v4(PHONE.as_v4(), 50_123),
        router: 1,
        packet: Packet::read(172, 0x80, 7),
        tick: ticks(call.env.now.get()),
    };
    {
        let mut media = call.env.media.borrow_mut();
        // SAFETY: one thread.
        unsafe { media::arrive(media.get_mut(&(0, 20_000)).expect("bound"), &arrival) };
    }
    call.phone("BYE sip:2000@pbx SIP/2.0", "2 BYE", "9", "");
    call.pbx("SIP/2.0 200 OK", "2 BYE", "9", "");
    let mut next = Call::new(true);
    next.id = "9@phone";
    next.env = call.env;
    next.invites(&sdp(PRIVATE, 4010, ""));
    next.to_tag = "pbx2";
    next.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(next.slots()[0].1, "192.168.1.10:4010");
}

/// The attacker offers a port in a call of his own, beside another one.
fn attacker_offers(call: Call, port: u16) -> Call {
    let mut other = Call::new(true);
    other.id = "8@attacker";
    other.env = call.env;
    let start = "INVITE sip:x@pbx SIP/2.0";
    other.arrives(STRANGER, start, "1 INVITE", "9", &sdp(PRIVATE, port, ""));
    other
}

/// The same, with a description that refuses the line at that port: the call keeps its stream.
#[test]
fn another_call_does_not_end_the_stream_of_one_that_goes_on() {
    let call = Call::of_phone();
    let before = call.slots();
    let mut other = attacker_offers(call, 0);
    other.to_tag = "friend";
    let answer = sdp(PBX.as_v4(), 20_000, "");
    other.pbx("SIP/2.0 200 OK", "1 INVITE", "9", &answer);
    assert!(other.events().contains(&MediaCounter::Refused));
    assert_eq!(other.slots(), before);
}

/// Two accounts of a proxy name a service of another host, or a port of this host that is none of media: there is no stream, so
/// that what this host sends there goes there.
#[test]
fn services_have_no_streams() {
    for (terminal, pbx) in [
        (sdp(PRIVATE, 53, ""), sdp(PBX.as_v4(), 20_000, "")),
        (sdp(PRIVATE, 1023, ""), sdp(PBX.as_v4(), 20_000, "")),
        (sdp(PRIVATE, 4000, ""), sdp(PBX.as_v4(), 53, "")),
        (sdp(PRIVATE, 4000, ""), sdp(PBX.as_v4(), 5060, "")),
        (sdp(PRIVATE, 4000, ""), sdp(PBX.as_v4(), 3478, "")),
    ] {
        let mut call = Call::new(true);
        call.invites(&terminal);
        call.to_tag = "pbx";
        call.accepts(&pbx);
        assert_eq!(call.slots(), [], "{terminal} {pbx}");
    }
    // The same by the port of RTCP, of either side.
    for (terminal, pbx) in [
        ("a=rtcp:53\r\n", ""),
        ("", "a=rtcp:53\r\n"),
        ("", "a=rtcp:9999\r\n"),
    ] {
        let mut call = Call::new(true);
        call.invites(&sdp(PRIVATE, 4000, terminal));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, pbx));
        let ports: Vec<u16> = call.slots().iter().map(|slot| slot.0).collect();
        assert_eq!(ports, [20_000], "{terminal} {pbx}");
    }
}

/// Two descriptions of one transaction that differ in anything are two: in the port of another line, of RTCP, or in its kind.
#[test]
fn two_descriptions_that_differ_in_anything_count_for_nothing() {
    let video = |port, more: &str| format!("m=video {port} RTP/AVP 99\r\n{more}");
    for (other, counts) in [
        (video(4002, ""), true),
        (video(4004, "a=rtcp:4003\r\n"), false),
        (video(4002, "a=rtcp:4100\r\n"), false),
        (video(4002, "a=rtcp-mux\r\n"), false),
        (video(4002, "a=ice-ufrag:1234\r\n"), false),
    ] {
        let mut call = Call::new(true);
        call.invites(&sdp(PRIVATE, 4000, &video(4002, "")));
        call.invites(&sdp(PRIVATE, 4000, &other));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, &video(20_002, "")));
        assert_eq!(!call.slots().is_empty(), counts, "{other}");
    }
}

/// The attacker uses the tags of the victim's call under another Call-ID, and refuses the stream at its port.
#[test]
fn another_call_with_the_same_tags_ends_no_stream() {
    let call = Call::of_phone();
    let before = call.slots();
    let mut other = attacker_offers(call, 0);
    other.to_tag = "pbx";
    other.accepts_in("9", &sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(other.slots(), before);
}

/// The port of RTCP is free, but that of RTP is another call's: the stream has neither.
#[test]
fn a_stream_that_is_refused_has_no_rtcp() {
    let call = going_on();
    let before = call.slots();
    let mut other = attacker_offers(call, 4000);
    other.to_tag = "friend";
    other.accepts_in("9", &sdp(PBX.as_v4(), 20_000, "a=rtcp:20500\r\n"));
    assert_eq!(other.slots(), before);
}

/// A port of RTCP is one of media: it lies in the range or is the next one, and is none of SIP or STUN.
#[test]
fn ports_of_rtcp() {
    for (ports, rtcp, theirs, bound) in [
        ([20_000, 20_050], "", "", &[20_000, 20_001][..]),
        ([20_000, 20_000], "", "", &[20_000, 20_001]),
        ([19_990, 20_000], "a=rtcp:19990\r\n", "", &[19_990, 20_000]),
        ([19_990, 20_000], "a=rtcp:19989\r\n", "", &[20_000]),
        ([20_000, 20_050], "a=rtcp:20050\r\n", "", &[20_000, 20_050]),
        ([20_000, 20_050], "a=rtcp:20051\r\n", "", &[20_000]),
        ([1, u16::MAX], "a=rtcp:5060\r\n", "", &[20_000]),
        ([1, u16::MAX], "a=rtcp:3478\r\n", "", &[20_000]),
        ([1, u16::MAX], "a=rtcp:20000\r\n", "", &[20_000]),
        ([1, u16::MAX], "", "a=rtcp:1024\r\n", &[20_000, 20_001]),
        ([1, u16::MAX], "", "a=rtcp:1023\r\n", &[20_000]),
    ] {
        let mut call = Call::new(true);
        call.env.media_config.get_mut().ports = ports;
        call.invites(&sdp(PRIVATE, 4000, theirs));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, rtcp));
        let found: Vec<u16> = call.slots().iter().map(|slot| slot.0).collect();
        assert_eq!(found, bound, "{ports:?} {rtcp} {theirs}");
    }
}

/// The lowest port of a terminal's stream, and the highest of the PBX's.
#[test]
fn ports_at_the_ends() {
    for (theirs, ports, is_bound) in [
        (1024, [20_000, 20_000], true),
        (1023, [20_000, 20_000], false),
        (4000, [19_000, 19_999], false),
    ] {
        let mut call = Call::new(true);
        call.env.media_config.get_mut().ports = ports;
        call.invites(&sdp(PRIVATE, theirs, "a=rtcp-mux\r\n"));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, "a=rtcp-mux\r\n"));
        assert_eq!(call.slots().len(), usize::from(is_bound), "{theirs}");
    }
}
