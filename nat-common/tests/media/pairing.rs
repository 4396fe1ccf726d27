//! Which streams a call has: MEDIA offers and answers in every place where SIP may carry them.

use nat_common::abi::{MediaCounter, MediaFlags, Policy, Record, SECOND, TICK_SHIFT, address};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::{Checksum, Journal as _};
use nat_common::engine::lifetimes::ANSWER_LIFE;
use nat_common::engine::media as decide;
use nat_common::media::Arrived;
use nat_common::sip::{Direction, Method};
use zerocopy::FromBytes as _;

use crate::{
    Call, PBX, PRIVATE, STRANGER,
    attacks::{going_on, hear},
    sdp, show,
};

const REWRITE: MediaFlags = MediaFlags::REWRITE;
const RTCP: MediaFlags = MediaFlags::REWRITE.union(MediaFlags::RTCP);
const PEER: &str = "60.17.196.2:0";

fn stream(port: u16, advertised: &str, flags: MediaFlags) -> (u16, String, String, MediaFlags) {
    (port, advertised.into(), PEER.into(), flags)
}

/// Streams of a call with audio at the ports that most tests use.
fn audio() -> Vec<(u16, String, String, MediaFlags)> {
    vec![
        stream(20_000, "192.168.1.10:4000", REWRITE),
        stream(20_001, "192.168.1.10:4001", RTCP),
    ]
}

#[test]
fn offer_in_the_invite() {
    let call = Call::of_phone();
    assert_eq!(call.slots(), audio());
    assert_eq!(
        call.events(),
        [
            MediaCounter::Noted,
            MediaCounter::Bound,
            MediaCounter::Bound
        ]
    );
    // The PBX repeats its answer.
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.events(), [MediaCounter::Kept, MediaCounter::Kept]);
}

#[test]
fn nothing_counts_that_the_pbx_does_not_answer() {
    let mut call = Call::new(true);
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    for status in [
        "100 Trying",
        "302 Moved",
        "401 Unauthorized",
        "486 Busy Here",
    ] {
        let start = format!("SIP/2.0 {status}");
        call.pbx(&start, "1 INVITE", "1", &sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(call.slots(), [], "{status}");
    }
    // Nor that it answers in another transaction.
    call.pbx(
        "SIP/2.0 200 OK",
        "1 INVITE",
        "2",
        &sdp(PBX.as_v4(), 20_000, ""),
    );
    assert_eq!(call.slots(), []);
    assert_eq!(call.events(), [MediaCounter::Noted, MediaCounter::Unpaired]);
}

#[test]
fn offer_of_the_pbx() {
    let mut call = Call::new(false);
    call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots(), []);
    call.to_tag = "phone";
    call.answers(&sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots(), audio());
}

#[test]
fn offer_of_the_pbx_in_its_answer() {
    let mut call = Call::new(true);
    call.phone("INVITE sip:2000@pbx SIP/2.0", "1 INVITE", "1", "");
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots(), []);
    // An ACK of another host says nothing.
    call.arrives(
        STRANGER,
        "ACK sip:2000@pbx SIP/2.0",
        "1 ACK",
        "2",
        &sdp(PRIVATE, 9000, ""),
    );
    assert_eq!(call.slots(), []);
    // Nor does one that the PBX never sees.
    for checksum in [Checksum::Wrong, Checksum::Unknown] {
        call.env.checksum.set(checksum);
        let forged = sdp(PRIVATE, 9000, "");
        call.phone("ACK sip:2000@pbx SIP/2.0", "1 ACK", "2", &forged);
        assert_eq!(call.slots(), [], "{checksum:?}");
    }
    call.env.checksum.set(Checksum::Right);
    call.phone(
        "ACK sip:2000@pbx SIP/2.0",
        "1 ACK",
        "2",
        &sdp(PRIVATE, 4000, ""),
    );
    assert_eq!(call.slots(), audio());
}

#[test]
fn offer_of_the_phone_in_its_answer() {
    let mut call = Call::new(false);
    call.is_called("");
    call.to_tag = "phone";
    call.answers(&sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots(), []);
    call.pbx(
        "ACK sip:1000@phone SIP/2.0",
        "1 ACK",
        "2",
        &sdp(PBX.as_v4(), 20_000, ""),
    );
    assert_eq!(call.slots(), audio());
}

#[test]
fn early_media_and_forks() {
    let mut call = Call::new(false);
    let early = MediaFlags::EARLY;
    call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
    call.to_tag = "one";
    call.progresses(&sdp(PRIVATE, 4000, ""));
    assert_eq!(
        call.slots()[0],
        stream(20_000, "192.168.1.10:4000", REWRITE | early)
    );
    // Of two early ones, the newer.
    call.to_tag = "two";
    call.progresses(&sdp(PRIVATE, 4002, ""));
    assert_eq!(
        call.slots()[0],
        stream(20_000, "192.168.1.10:4002", REWRITE | early)
    );
    // It is heard, and gives way all the same.
    assert_eq!(hear(&call.env), Arrived::Latched);
    call.to_tag = "one";
    call.answers(&sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots(), audio());
    // An early one that is late.
    call.to_tag = "two";
    call.progresses(&sdp(PRIVATE, 4002, ""));
    assert_eq!(call.slots(), audio());
}

#[test]
fn the_call_changes() {
    let call = Call::of_phone();
    call.events();
    // On hold: the address of RFC 2543, then a direction.
    for (cseq, body) in [
        ("2", sdp([0, 0, 0, 0], 4000, "")),
        ("3", sdp(PRIVATE, 4000, "a=sendonly\r\n")),
    ] {
        call.phone(
            "INVITE sip:2000@pbx SIP/2.0",
            &format!("{cseq} INVITE"),
            cseq,
            &body,
        );
        call.pbx(
            "SIP/2.0 200 OK",
            &format!("{cseq} INVITE"),
            cseq,
            &sdp(PBX.as_v4(), 20_000, ""),
        );
        assert_eq!(call.slots(), audio(), "{cseq}");
        assert!(!call.events().contains(&MediaCounter::Bound));
    }
    // Another port, by UPDATE.
    call.phone(
        "UPDATE sip:2000@pbx SIP/2.0",
        "4 UPDATE",
        "4",
        &sdp(PRIVATE, 4010, ""),
    );
    call.pbx(
        "SIP/2.0 200 OK",
        "4 UPDATE",
        "4",
        &sdp(PBX.as_v4(), 20_000, ""),
    );
    assert_eq!(
        call.slots()[0],
        stream(20_000, "192.168.1.10:4010", REWRITE)
    );
    // Fax beside the audio, which is refused.
    let fax = "m=image 4020 udptl t38\r\n";
    call.phone(
        "INVITE sip:2000@pbx SIP/2.0",
        "5 INVITE",
        "5",
        &sdp(PRIVATE, 0, fax),
    );
    let answer = sdp(PBX.as_v4(), 0, "m=image 20004 udptl t38\r\n");
    call.pbx("SIP/2.0 200 OK", "5 INVITE", "5", &answer);
    let udptl = stream(20_004, "192.168.1.10:4020", REWRITE | MediaFlags::UDPTL);
    assert!(call.slots().contains(&udptl));
    // The PBX asks for audio that the phone refuses.
    let body = sdp(PBX.as_v4(), 20_000, "");
    call.phone(
        "INVITE sip:2000@pbx SIP/2.0",
        "6 INVITE",
        "6",
        &sdp(PRIVATE, 0, fax),
    );
    call.pbx("SIP/2.0 200 OK", "6 INVITE", "6", &body);
    assert!(call.slots().iter().all(|slot| slot.0 != 20_000));
}

#[test]
fn several_lines() {
    let mut call = Call::new(true);
    let lines = "m=video 4002 RTP/AVP 99\r\na=rtcp-mux\r\nm=application 4004 UDP/BFCP *\r\nm=text 4006 RTP/AVP 98\r\na=rtcp:4100\r\n";
    call.invites(&sdp(PRIVATE, 4000, lines));
    call.to_tag = "pbx";
    let lines = "m=video 20002 RTP/AVP 99\r\na=rtcp-mux\r\nm=application 20006 UDP/BFCP *\r\nm=text 20008 RTP/AVP 98\r\na=rtcp:20100\r\n";
    call.accepts(&sdp(PBX.as_v4(), 20_000, lines));
    let mut want = audio();
    want.extend([
        stream(20_002, "192.168.1.10:4002", REWRITE),
        stream(20_008, "192.168.1.10:4006", REWRITE),
        stream(20_100, "192.168.1.10:4100", RTCP),
    ]);
    assert_eq!(call.slots(), want);
}

/// The lines of a description that have another address than the first one, or two, are left alone. So is RTCP elsewhere.
#[test]
fn lines_of_another_address_are_left_alone() {
    for lines in [
        "m=video 4002 RTP/AVP 99\r\nc=IN IP4 10.0.0.9\r\n",
        "m=video 4002 RTP/AVP 99\r\nc=IN IP4 192.168.2.10\r\n",
        "m=video 4002 RTP/AVP 99\r\nc=IN IP4 192.168.1.10\r\nc=IN IP4 192.168.1.10\r\n",
        "m=video 4002 RTP/AVP 99\r\nc=IN IP4 phone.lan\r\n",
    ] {
        let mut call = Call::new(true);
        call.invites(&sdp(PRIVATE, 4000, lines));
        call.to_tag = "pbx";
        let video = "m=video 20002 RTP/AVP 99\r\n";
        call.accepts(&sdp(PBX.as_v4(), 20_000, video));
        assert_eq!(call.slots(), audio(), "{lines}");
    }
    let mut call = Call::new(true);
    let elsewhere = "a=rtcp:4001 IN IP4 10.0.0.9\r\n";
    call.invites(&sdp(PRIVATE, 4000, elsewhere));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots(), audio()[..1]);
}

/// Both sides repeat what they send until it is answered.
#[test]
fn a_repeated_description_is_the_same() {
    let (offer, answer) = (sdp(PRIVATE, 4000, ""), sdp(PBX.as_v4(), 20_000, ""));
    let mut call = Call::new(true);
    call.invites(&offer);
    call.invites(&offer);
    call.to_tag = "pbx";
    call.accepts(&answer);
    assert_eq!(call.slots(), audio());
    let mut call = Call::new(false);
    call.is_called(&answer);
    call.is_called(&answer);
    call.to_tag = "phone";
    call.answers(&offer);
    assert_eq!(call.slots(), audio());
    // Offers in answers.
    let mut call = Call::new(true);
    call.invites("");
    call.to_tag = "pbx";
    call.accepts(&answer);
    call.accepts(&answer);
    call.phone("ACK sip:2000@pbx SIP/2.0", "1 ACK", "2", &offer);
    assert_eq!(call.slots(), audio());
}

/// What a provisional response offers is answered in a PRACK, not in the ACK (RFC 3262 5).
#[test]
fn an_offer_in_a_provisional_response_is_not_that_of_the_answer() {
    let mut call = Call::new(true);
    call.invites("");
    call.to_tag = "pbx";
    let early = sdp(PBX.as_v4(), 20_100, "");
    call.pbx("SIP/2.0 183 Progress", "1 INVITE", "1", &early);
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    let answer = sdp(PRIVATE, 4000, "");
    call.phone("ACK sip:2000@pbx SIP/2.0", "1 ACK", "2", &answer);
    assert_eq!(call.slots(), audio());
    let mut call = Call::new(false);
    call.is_called("");
    call.to_tag = "phone";
    call.progresses(&sdp(PRIVATE, 4100, ""));
    call.answers(&sdp(PRIVATE, 4000, ""));
    let answer = sdp(PBX.as_v4(), 20_000, "");
    call.pbx("ACK sip:1000@phone SIP/2.0", "1 ACK", "2", &answer);
    assert_eq!(call.slots(), audio());
}

/// Streams belong to a dialog end that lives: not to one that has ended, nor to one for which the table had no space.
#[test]
fn without_a_dialog_end_there_is_no_stream() {
    let call = Call::of_phone();
    call.phone("BYE sip:2000@pbx SIP/2.0", "2 BYE", "3", "");
    call.pbx("SIP/2.0 200 OK", "2 BYE", "3", "");
    let offer = sdp(PRIVATE, 4010, "");
    call.phone("INVITE sip:2000@pbx SIP/2.0", "3 INVITE", "4", &offer);
    let answer = sdp(PBX.as_v4(), 20_010, "");
    call.pbx("SIP/2.0 200 OK", "3 INVITE", "4", &answer);
    assert_eq!(call.slots(), audio());
    let mut call = Call::new(true);
    call.env.full.set(true);
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots(), []);
}

/// The phone's provider gives it another address in mid-call. Its streams go along, at the next look at their owner.
#[test]
fn a_stream_follows_its_dialog_to_another_host() {
    let call = Call::of_phone();
    let moved = Endpoint::v4([60, 17, 196, 99], 40_000);
    call.wait(1);
    call.arrives(moved, "UPDATE sip:2000@pbx SIP/2.0", "2 UPDATE", "3", "");
    call.pbx("SIP/2.0 200 OK", "2 UPDATE", "3", "");
    assert_eq!(call.slots(), audio());
    for port in [20_000, 20_001] {
        assert!(decide::follow_owner(&call.env, 0, port));
    }
    let at = |slot: &(u16, String, String, MediaFlags)| slot.2.clone();
    let slots = call.slots();
    assert!(
        slots.iter().all(|slot| at(slot) == "60.17.196.99:0"),
        "{slots:?}"
    );
    // What else the slot says stays.
    let stays = |slots: &[(u16, String, String, MediaFlags)]| -> Vec<_> {
        slots
            .iter()
            .map(|slot| (slot.0, slot.1.clone(), slot.3))
            .collect()
    };
    assert_eq!(stays(&slots), stays(&audio()));
    // The dialog is forgotten.
    call.wait(13 * 3600);
    assert!(!decide::follow_owner(&call.env, 0, 20_000));
    assert_eq!(call.slots().len(), 1);
}

/// A request with a Route goes to another hop, whatever the policy.
#[test]
fn a_description_for_another_hop_is_left_alone() {
    for (branch, expected) in [
        ("1", audio()),
        ("1\r\nRoute: <sip:198.51.100.9;lr>", vec![]),
    ] {
        let mut call = Call::new(false);
        call.env.policy.set(Policy::Force);
        let offer = sdp(PBX.as_v4(), 20_000, "");
        call.pbx("INVITE sip:1000@phone SIP/2.0", "1 INVITE", branch, &offer);
        call.to_tag = "phone";
        call.answers(&sdp(PRIVATE, 4000, ""));
        assert_eq!(call.slots(), expected, "{branch}");
    }
}

/// Other requests carry descriptions that are none of a call's, or are answered elsewhere.
#[test]
fn messages_whose_descriptions_matter() {
    for (start, cseq, carries) in [
        ("INVITE sip:2000@pbx SIP/2.0", "1 INVITE", true),
        ("UPDATE sip:2000@pbx SIP/2.0", "1 UPDATE", true),
        ("ACK sip:2000@pbx SIP/2.0", "1 ACK", true),
        ("PRACK sip:2000@pbx SIP/2.0", "1 PRACK", false),
        ("INFO sip:2000@pbx SIP/2.0", "1 INFO", false),
        ("MESSAGE sip:2000@pbx SIP/2.0", "1 MESSAGE", false),
        ("SIP/2.0 100 Trying", "1 INVITE", false),
        ("SIP/2.0 183 Progress", "1 INVITE", true),
        ("SIP/2.0 200 OK", "1 INVITE", true),
        ("SIP/2.0 200 OK", "1 PRACK", false),
        ("SIP/2.0 300 Choices", "1 INVITE", false),
        ("SIP/2.0 488 Not Acceptable", "1 INVITE", false),
    ] {
        let call = Call::new(true);
        let text = call.text(start, cseq, "1", &sdp(PRIVATE, 4000, ""));
        let m = call.env.scan(text.as_bytes(), Direction::In);
        let m = m.expect("a message");
        assert_eq!(decide::may_carry(&m), carries, "{start}");
    }
}

/// Lines that have no slot, and so are left alone.
#[test]
fn left_alone() {
    let ice = "a=ice-ufrag:1234\r\n";
    for (what, terminal, pbx, event) in [
        (
            "ICE on both sides",
            sdp(PRIVATE, 4000, ice),
            sdp(PBX.as_v4(), 20_000, ice),
            MediaCounter::Refused,
        ),
        (
            "direct media",
            sdp(PRIVATE, 4000, ""),
            sdp([198, 51, 100, 7], 20_000, ""),
            MediaCounter::Direct,
        ),
        (
            "a port of SIP",
            sdp(PRIVATE, 4000, ""),
            sdp(PBX.as_v4(), 5060, ""),
            MediaCounter::Refused,
        ),
        (
            "a port below the range",
            sdp(PRIVATE, 4000, ""),
            sdp(PBX.as_v4(), 9999, ""),
            MediaCounter::Refused,
        ),
        (
            "another protocol",
            sdp(PRIVATE, 4000, "").replace("RTP/AVP", "TCP/RTP/AVP"),
            sdp(PBX.as_v4(), 20_000, "").replace("RTP/AVP", "TCP/RTP/AVP"),
            MediaCounter::Refused,
        ),
        (
            "a name",
            sdp(PRIVATE, 4000, "").replace("192.168.1.10", "phone.lan"),
            sdp(PBX.as_v4(), 20_000, ""),
            MediaCounter::Unreadable,
        ),
    ] {
        let mut call = Call::new(true);
        call.invites(&terminal);
        call.to_tag = "pbx";
        call.accepts(&pbx);
        assert_eq!(call.slots(), [], "{what}");
        assert!(call.events().contains(&event), "{what}");
    }
    // Whatever the range of ports.
    let mut call = Call::new(true);
    call.env.media_config.get_mut().ports = [1, u16::MAX];
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 5060, ""));
    assert_eq!(call.slots(), []);
    // At the ends of it.
    for (ports, kept) in [
        ([20_000, 20_001], 2),
        ([20_001, 20_100], 0),
        ([10_000, 19_999], 0),
    ] {
        let mut call = Call::new(true);
        call.env.media_config.get_mut().ports = ports;
        call.invites(&sdp(PRIVATE, 4000, ""));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(call.slots().len(), kept, "{ports:?}");
    }
    // ICE on one side only is not in use (RFC 8839 4.2.5).
    let mut call = Call::new(true);
    call.invites(&sdp(PRIVATE, 4000, ice));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
    assert_eq!(call.slots(), audio());
}

/// Both sides describe the same kind of media, or its slots stay empty.
#[test]
fn lines_of_two_kinds_are_left_alone() {
    let fax = |description: &str| {
        let image = description.replace("m=audio", "m=image");
        image.replace("RTP/AVP 0", "udptl t38")
    };
    let [terminal, pbx] = [sdp(PRIVATE, 4000, ""), sdp(PBX.as_v4(), 20_000, "")];
    for (terminal, pbx, bound) in [
        (&terminal, &pbx, 2),
        (&fax(&terminal), &fax(&pbx), 1),
        (&terminal, &fax(&pbx), 0),
        (&fax(&terminal), &pbx, 0),
    ] {
        let mut call = Call::new(true);
        call.invites(terminal);
        call.to_tag = "pbx";
        call.accepts(pbx);
        assert_eq!(call.slots().len(), bound, "{terminal} {pbx}");
        let is_fax = call
            .slots()
            .iter()
            .any(|slot| slot.3.contains(MediaFlags::UDPTL));
        assert_eq!(is_fax, bound == 1);
    }
}

/// RTCP has a slot where both sides have a port for it, and one of them does not put it on that of RTP (RFC 3605, 5761).
#[test]
fn ports_of_rtcp() {
    for (terminal, pbx, port) in [
        ("", "", Some(20_001)),
        ("a=rtcp-mux\r\n", "", Some(20_001)),
        ("", "a=rtcp-mux\r\n", Some(20_001)),
        ("a=rtcp-mux\r\n", "a=rtcp-mux\r\n", None),
        ("", "a=rtcp:20000\r\n", None),
        ("", "a=rtcp:5060\r\n", None),
        ("", "a=rtcp:9999\r\n", None),
        ("", "a=rtcp:20100\r\n", Some(20_100)),
        ("a=rtcp:9\r\n", "", None),
    ] {
        let mut call = Call::new(true);
        call.invites(&sdp(PRIVATE, 4000, terminal));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, pbx));
        let slots = call.slots().into_iter();
        let slots: Vec<_> = slots.map(|slot| (slot.0, slot.3)).collect();
        let mut want = vec![(20_000, REWRITE)];
        want.extend(port.map(|port| (port, RTCP)));
        assert_eq!(slots, want, "{terminal:?} {pbx:?}");
    }
    // Never a port of SIP, whatever the range of ports.
    let mut call = Call::new(true);
    call.env.media_config.get_mut().ports = [1, u16::MAX];
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    call.accepts(&sdp(PBX.as_v4(), 20_000, "a=rtcp:5060\r\n"));
    assert_eq!(call.slots().len(), 1);
}

/// The PBX gives a port to its next call. Its slot is that call's, unless the one before goes on.
#[test]
fn a_port_belongs_to_the_next_call_once_its_own_has_ended() {
    for ended in [false, true] {
        let first = going_on();
        if ended {
            first.phone("BYE sip:2000@pbx SIP/2.0", "2 BYE", "3", "");
            first.pbx("SIP/2.0 200 OK", "2 BYE", "3", "");
        }
        let mut next = Call::new(true);
        next.id = "8@other";
        next.env = first.env;
        next.invites(&sdp([192, 168, 1, 20], 5000, ""));
        next.to_tag = "pbx";
        next.events();
        next.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        let advertised = next.slots()[0].1.clone();
        let (address, event) = if ended {
            ("192.168.1.20:5000", MediaCounter::Bound)
        } else {
            ("192.168.1.10:4000", MediaCounter::Guarded)
        };
        assert_eq!(advertised, address);
        assert_eq!(next.events()[0], event);
    }
}

/// Packets to an address that can be reached from here stay as they are: the slot only observes.
#[test]
fn rewriting_is_for_addresses_that_cannot_be_reached() {
    let flags = |prepare: &dyn Fn(&mut Call), host: [u8; 4]| {
        let mut call = Call::new(true);
        prepare(&mut call);
        call.invites(&sdp(host, 4000, ""));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        call.slots()[0].3
    };
    let none = MediaFlags::empty();
    let public = [198, 51, 100, 9];
    let learned = [60, 17, 196, 2];
    assert_eq!(flags(&|_| (), PRIVATE), REWRITE);
    assert_eq!(flags(&|_| (), public), none);
    // Its own public address, which an ALG or STUN told it: another port may still be the right one.
    assert_eq!(flags(&|_| (), learned), REWRITE);
    let at = |call: &mut Call, kind: u32| {
        let private = Endpoint::v4(PRIVATE, 0);
        call.env.kinds.borrow_mut().push((private, kind));
    };
    assert_eq!(flags(&|call| at(call, address::on_link(2)), PRIVATE), none);
    assert_eq!(flags(&|call| at(call, address::ROUTED), PRIVATE), none);
    assert_eq!(flags(&|call| at(call, address::LOCAL), PRIVATE), none);
    assert_eq!(
        flags(&|call| call.env.policy.set(Policy::Off), PRIVATE),
        none
    );
    assert_eq!(
        flags(&|call| call.env.policy.set(Policy::Force), public),
        REWRITE
    );
}

#[test]
fn a_terminal_behind_a_proxy_has_no_slot() {
    for (policy, expected, event) in [
        (Policy::Auto, vec![], MediaCounter::NotDirect),
        (Policy::Force, audio(), MediaCounter::Bound),
    ] {
        let mut call = Call::new(true);
        call.env.policy.set(policy);
        let via = "SIP/2.0\r\nVia: SIP/2.0/UDP proxy;branch=z9hG4bKp";
        let start = format!("INVITE sip:2000@pbx {via}");
        call.phone(&start, "1 INVITE", "1", &sdp(PRIVATE, 4000, ""));
        call.to_tag = "pbx";
        let start = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP proxy;branch=z9hG4bKp";
        call.pbx(start, "1 INVITE", "1", &sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(call.slots(), expected);
        assert!(call.events().contains(&event));
    }
}

#[test]
fn a_description_lasts_as_long_as_a_phone_rings() {
    for (seconds, bound) in [(179, true), (1000, false)] {
        let mut call = Call::new(false);
        call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
        call.wait(seconds);
        call.to_tag = "phone";
        call.answers(&sdp(PRIVATE, 4000, ""));
        assert_eq!(!call.slots().is_empty(), bound, "{seconds}");
    }
}

/// The PBX's description of a call on hold names no address. That is no direct media.
#[test]
fn the_pbx_holds_the_call() {
    let mut call = Call::new(false);
    call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
    call.to_tag = "phone";
    call.answers(&sdp(PRIVATE, 4000, ""));
    call.events();
    let held = sdp([0, 0, 0, 0], 20_000, "");
    call.pbx("INVITE sip:1000@phone SIP/2.0", "2 INVITE", "2", &held);
    call.phone("SIP/2.0 200 OK", "2 INVITE", "2", &sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots(), audio());
    assert_eq!(call.events(), [MediaCounter::Noted, MediaCounter::Kept]);
}

/// A stream lasts as long as its dialog: its description was early, and the PBX's 200 has none, as after a reliable 183.
#[test]
fn a_stream_lasts_as_long_as_its_dialog() {
    let mut call = Call::new(true);
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    let answer = sdp(PBX.as_v4(), 20_000, "");
    call.pbx("SIP/2.0 183 Progress", "1 INVITE", "1", &answer);
    call.wait(10);
    call.accepts("");
    call.phone("ACK sip:2000@pbx SIP/2.0", "1 ACK", "2", "");
    call.wait(600);
    let follow = |port| decide::follow_owner(&call.env, 0, port);
    assert!(follow(20_000));
    let expires = |call: &Call| call.env.media.borrow()[&(0, 20_000)].expires;
    assert!(expires(&call) > call.env.now.get() + 3600 * SECOND);
    call.phone("BYE sip:2000@pbx SIP/2.0", "2 BYE", "3", "");
    call.pbx("SIP/2.0 200 OK", "2 BYE", "3", "");
    assert!(!follow(20_000));
    assert_eq!(
        call.slots().len(),
        1,
        "only that of RTCP, which nobody asked for"
    );
}

/// `explain` tells what became of each description, and which addresses were in it.
#[test]
fn descriptions_are_remembered() {
    let told = |call: &Call| -> Vec<(u16, u32, String, String)> {
        let records = call.env.history.borrow();
        let of_media = records.iter().filter(|r| r.verdict == decide::VERDICT);
        let row = |r: &Record| (r.status, r.events, show(r.original()), show(r.learned()));
        of_media.map(row).collect()
    };
    let bit = |event: MediaCounter| 1 << event as u32;
    let nowhere = "0.0.0.0:0";
    let call = Call::of_phone();
    let noted = bit(MediaCounter::Noted);
    assert_eq!(
        told(&call),
        [
            (0, noted, "192.168.1.10:4000".into(), nowhere.into()),
            (
                200,
                bit(MediaCounter::Bound) | decide::BY_PBX,
                "192.168.1.10:4000".into(),
                "203.0.113.10:20000".into()
            ),
        ]
    );
    let tags: Vec<u64> = call.env.history.borrow().iter().map(|r| r.tag).collect();
    assert_ne!(tags.last(), Some(&0));
    // Nothing of one message stays in the record of the next.
    call.phone(
        "ACK sip:2000@pbx SIP/2.0",
        "9 ACK",
        "9",
        &sdp(PRIVATE, 9, ""),
    );
    let unpaired = bit(MediaCounter::Unpaired);
    let last = (0, unpaired, "192.168.1.10:9".into(), nowhere.into());
    assert_eq!(told(&call).last(), Some(&last));
}

/// A terminal's request writes no record of its own, so that of its description is whole.
#[test]
fn a_record_of_a_description_has_every_field() {
    let call = Call::of_phone();
    let of_call = *call.env.history.borrow().last().expect("a record");
    *call.env.record() = Record::read_from_bytes(&[0xff; size_of::<Record>()]).expect("a record");
    call.wait(1);
    let offer = sdp(PRIVATE, 4100, "");
    call.phone("INVITE sip:2000@pbx SIP/2.0", "2 INVITE", "5", &offer);
    let original = Endpoint::v4(PRIVATE, 4100);
    // It belongs to no binding before its answer.
    let expected = Record {
        at: call.env.now.get(),
        tag: 0,
        original_addr: original.addr,
        learned_addr: Endpoint::UNKNOWN.addr,
        original_port: 4100,
        learned_port: 0,
        cseq: 2,
        events: 1 << MediaCounter::Noted as u32,
        status: 0,
        method: Method::Invite as u8,
        verdict: decide::VERDICT,
        ground: 0,
        transmission: 0,
        weak: 0,
        bound: 0,
        reserved: [0; 4],
        ..of_call
    };
    assert_eq!(call.env.history.borrow().last(), Some(&expected));
    assert_eq!(of_call.bound, 1);
}

/// The PBX offers, and describes another call before the phone answers.
#[test]
fn the_address_of_an_offer_is_its_own() {
    let mut call = Call::new(false);
    call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
    let mut other = Call::new(false);
    other.id = "8@other";
    other.env = call.env;
    other.is_called(&sdp([198, 51, 100, 7], 20_000, ""));
    call.env = other.env;
    call.to_tag = "phone";
    call.answers(&sdp(PRIVATE, 4000, ""));
    assert_eq!(call.slots(), audio());
}

/// A router translates the PBX's address: its descriptions name that of the router.
#[test]
fn the_pbx_names_the_address_of_its_router() {
    const ROUTER: [u8; 4] = [198, 51, 100, 77];
    for (external, expected) in [(Some(ROUTER), audio()), (None, vec![])] {
        let mut call = Call::new(true);
        if let Some(external) = external {
            call.env.media_config.get_mut().externals[1] = Endpoint::v4(external, 0).addr;
        }
        call.invites(&sdp(PRIVATE, 4000, ""));
        call.to_tag = "pbx";
        call.accepts(&sdp(ROUTER, 20_000, ""));
        assert_eq!(call.slots(), expected);
    }
}

/// The user has named NATs that forward the ports of media.
#[test]
fn a_terminal_behind_a_nat_that_forwards() {
    for (nat, forwards) in [([60, 17, 196, 0], true), ([60, 17, 197, 0], false)] {
        let mut call = Call::new(true);
        let prefix = &mut call.env.media_config.get_mut().forwarding[1];
        prefix.addr = Endpoint::v4(nat, 0).addr;
        prefix.mask = [
            u64::MAX,
            u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 0]),
        ];
        call.invites(&sdp(PRIVATE, 4000, ""));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        let found = call.slots()[0].3.contains(MediaFlags::FORWARDED);
        assert_eq!(found, forwards, "{nat:?}");
    }
}

/// A stream of a call that is not accepted yet lasts as long as such a call.
#[test]
fn a_stream_lasts_as_long_as_its_call_may() {
    let mut call = Call::new(true);
    call.invites(&sdp(PRIVATE, 4000, ""));
    call.to_tag = "pbx";
    let answer = sdp(PBX.as_v4(), 20_000, "");
    let lasts = |call: &Call| {
        let expires = call.env.media.borrow()[&(0, 20_000)].expires;
        (expires - call.env.now.get()) / SECOND
    };
    call.pbx("SIP/2.0 183 Progress", "1 INVITE", "1", &answer);
    assert_eq!(lasts(&call), 300);
    call.accepts(&answer);
    assert_eq!(lasts(&call), 12 * 3600);
}

/// An offer counts for as long as a phone rings, up to the last tick. Then it is forgotten, and another one is none in conflict.
#[test]
fn an_offer_lasts_as_long_as_a_phone_rings() {
    for (wait, is_known) in [(ANSWER_LIFE - 1, true), (ANSWER_LIFE, false)] {
        let wait = |call: &Call| {
            let now = &call.env.now;
            now.set(now.get() + (wait << TICK_SHIFT));
        };
        let mut call = Call::new(true);
        call.invites(&sdp(PRIVATE, 4000, ""));
        wait(&call);
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        assert_eq!(!call.slots().is_empty(), is_known);
        let mut call = Call::new(false);
        call.is_called(&sdp(PBX.as_v4(), 20_100, ""));
        wait(&call);
        call.is_called(&sdp(PBX.as_v4(), 20_000, ""));
        call.to_tag = "phone";
        call.answers(&sdp(PRIVATE, 4000, ""));
        assert_eq!(call.slots().is_empty(), is_known);
    }
}
