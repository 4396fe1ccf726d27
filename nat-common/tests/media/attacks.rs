//! Attacks on the streams of others.

use nat_common::abi::MediaCounter;
use nat_common::endpoint::Endpoint;

use crate::{Call, PBX, PRIVATE, STRANGER, sdp};

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
        call.pbx(
            "SIP/2.0 200 OK",
            "1 INVITE",
            "1",
            &sdp(PBX.as_v4(), 20_000, ""),
        );
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
        call.pbx(
            "SIP/2.0 200 OK",
            "1 INVITE",
            "1",
            &sdp(PBX.as_v4(), 20_000, ""),
        );
        assert_eq!(call.slots(), [], "{other}");
        assert!(call.events().contains(&MediaCounter::Ambiguous));
    }
}

/// An answer from another host than the one that was asked.
#[test]
fn a_stranger_s_answer_does_not_count() {
    let mut call = Call::new(false);
    call.pbx(
        "INVITE sip:1000@phone SIP/2.0",
        "1 INVITE",
        "1",
        &sdp(PBX.as_v4(), 20_000, ""),
    );
    call.to_tag = "phone";
    call.arrives(
        STRANGER,
        "SIP/2.0 200 OK",
        "1 INVITE",
        "1",
        &sdp(PRIVATE, 666, ""),
    );
    assert_eq!(call.slots(), []);
    call.phone("SIP/2.0 200 OK", "1 INVITE", "1", &sdp(PRIVATE, 4000, ""));
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
