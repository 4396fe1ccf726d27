//! Packets that sipnat does not understand pass unchanged, with a counter that gives the reason.

use crate::frames::{
    ADVERTISED, HEADERS, INVITE, PBX, PHONE, in_dialog, inbound, outbound, tagged, udp,
};
use crate::run::Path;

/// Replaces some bytes of a frame, and leaves the checksums.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Returns frames that are not SIP: name, frame, and the verdict without its direction.
fn not_sip(make: impl Fn(&[u8]) -> Vec<u8>) -> Vec<(String, Vec<u8>, &'static str)> {
    let sip = make(INVITE.as_bytes());
    let length = (sip.len() - 14) as u16;
    let mut all = vec![
        ("ARP", with(sip.clone(), 12, &[0x08, 0x06]), "not_ip"),
        ("MPLS", with(sip.clone(), 12, &[0x88, 0x47]), "not_ip"),
        (
            "three VLAN tags",
            tagged(sip.clone(), &[[0x81, 0, 0, 7]; 3]),
            "not_ip",
        ),
        (
            "IPv4 that says it is IPv6",
            with(sip.clone(), 12, &[0x86, 0xdd]),
            "malformed",
        ),
        ("TCP", with(sip.clone(), 23, &[6]), "not_udp"),
        ("version 6", with(sip.clone(), 14, &[0x65]), "malformed"),
        (
            "header of 16 bytes",
            with(sip.clone(), 14, &[0x44]),
            "malformed",
        ),
        ("later fragment", with(sip.clone(), 20, &[0, 1]), "fragment"),
        ("don't fragment", with(sip.clone(), 20, &[0x40, 0]), ""),
        ("UDP length 7", with(sip.clone(), 38, &[0, 7]), "malformed"),
        (
            "UDP length beyond IP",
            with(sip.clone(), 38, &(length - 19).to_be_bytes()),
            "malformed",
        ),
        (
            "IP length beyond frame",
            {
                let longer = with(sip.clone(), 16, &(length + 9).to_be_bytes());
                with(longer, 38, &(length - 20 + 9).to_be_bytes())
            },
            "malformed",
        ),
        ("empty", make(b""), "keepalive"),
        ("CRLF", make(b"\r\n"), "keepalive"),
        ("CRLF CRLF", make(b"\r\n\r\n"), "keepalive"),
        ("zero", make(&[0]), "keepalive"),
        ("zeros", make(&[0; 4]), "keepalive"),
        ("other short", make(b"\r\nx"), "not_sip"),
        ("RTP-like", make(&[0x80; 172]), "not_sip"),
        (
            "small letters",
            make(b"invite sip:a SIP/2.0\r\n"),
            "not_sip",
        ),
        (
            "STUN",
            make(b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"),
            "stun",
        ),
        (
            "a header does not end",
            make(&INVITE.as_bytes()[..INVITE.len() - 5]),
            "doubt_truncated",
        ),
        (
            "no Call-ID",
            make(INVITE.replace("Call-ID", "X-Call-ID").as_bytes()),
            "doubt_missing",
        ),
        (
            "two From",
            make(INVITE.replace("To:", "f: <sip:a>\r\nTo:").as_bytes()),
            "doubt_duplicate",
        ),
        (
            "no CSeq number",
            make(INVITE.replace("1 INVITE", "one INVITE").as_bytes()),
            "doubt_syntax",
        ),
    ];
    all.retain(|(_, _, verdict)| !verdict.is_empty());
    all.into_iter()
        .map(|(name, frame, verdict)| (name.to_owned(), frame, verdict))
        .collect()
}

#[test]
fn ingress() {
    let mut path = Path::new();
    for (name, frame, verdict) in not_sip(|payload| udp(PHONE, PBX, payload)) {
        assert_eq!(path.arrives(&frame), format!("in_{verdict}"), "{name}");
    }
    let other = udp(PHONE, "203.0.113.10:5061", INVITE.as_bytes());
    assert_eq!(path.arrives(&other), "in_other_port");
    for source in [
        "0.0.0.0:5060",
        "127.0.0.1:5060",
        "224.0.0.1:5060",
        "255.255.255.255:5060",
        "60.17.196.2:0",
    ] {
        assert_eq!(
            path.arrives(&inbound(source, INVITE)),
            "in_bad_source",
            "{source}"
        );
    }
    assert!(path.dialogs().is_empty() && path.contacts().is_empty());
}

#[test]
fn egress() {
    let mut path = Path::new();
    path.call();
    for (name, frame, verdict) in not_sip(|payload| udp(PBX, ADVERTISED, payload)) {
        let verdict = if verdict == "stun" {
            "keepalive"
        } else {
            verdict
        };
        assert_eq!(path.leaves(&frame), format!("out_{verdict}"), "{name}");
    }
    let other = udp(
        "203.0.113.10:5061",
        ADVERTISED,
        in_dialog("BYE", "b").as_bytes(),
    );
    assert_eq!(path.leaves(&other), "out_other_port");
}

/// A frame that is cut off at any byte passes.
#[test]
fn cut_off_anywhere() {
    let mut path = Path::new();
    path.call();
    let frame = inbound(PHONE, INVITE);
    let bye = outbound(ADVERTISED, &in_dialog("BYE", "b"));
    for n in 14..frame.len() {
        assert_eq!(path.arrives(&frame[..n]), "in_malformed", "{n}");
    }
    // The kernel takes no test packet without a whole IP header.
    for n in 34..bye.len() {
        assert_eq!(path.leaves(&bye[..n]), "out_malformed", "{n}");
    }
}

/// A payload that is cut off within a line, with matching lengths, is in doubt or no SIP. One that is cut off between two
/// lines may be all that was sent.
#[test]
fn payload_of_any_length() {
    let mut path = Path::new();
    path.call();
    let bye = in_dialog("BYE", "b");
    for n in 1..bye.len() {
        let cut = &bye[..n];
        if cut.ends_with('\n') && cut.contains("CSeq") {
            let (_, _, verdict) = path.sends(&outbound(ADVERTISED, cut));
            assert!(!verdict.contains("doubt"), "{n}: {verdict}");
            continue;
        }
        let verdict = path.leaves(&outbound(ADVERTISED, cut));
        let fitting = match n {
            _ if cut.ends_with('\n') => verdict == "out_doubt_missing",
            0..8 => ["out_not_sip", "out_doubt_truncated", "out_doubt_syntax"].contains(&verdict),
            _ => ["out_doubt_truncated", "out_doubt_syntax"].contains(&verdict),
        };
        assert!(fitting, "{n}: {verdict}");
    }
}

/// The scratch memory may hold the previous message. It is not read as the end of a message that is cut off.
#[test]
fn what_was_there_before_is_not_read() {
    let mut path = Path::new();
    path.call();
    // Of several lengths, because memory is written in blocks.
    for longer in 1..=128 {
        let bye = in_dialog("BYE", &"b".repeat(longer));
        path.sends(&outbound(ADVERTISED, &bye));
        for cut in [1, 3, 4, 5] {
            let verdict = path.leaves(&outbound(ADVERTISED, &bye[..bye.len() - cut]));
            assert!(
                verdict.starts_with("out_doubt_"),
                "{longer} {cut}: {verdict}"
            );
        }
    }
}

/// Bytes behind the datagram are padding, and never read as SIP.
#[test]
fn padding_is_not_read() {
    let mut path = Path::new();
    let (head, rest) = INVITE.split_at(INVITE.find("CSeq").expect("CSeq"));
    let mut frame = inbound(PHONE, head);
    frame.extend(rest.as_bytes());
    assert_eq!(path.arrives(&frame), "in_doubt_missing");
    assert!(frame.len() > HEADERS + head.len());
}

/// Padding stays in place when its datagram is redirected.
#[test]
fn padding_stays() {
    let mut path = Path::new();
    path.call();
    for padding in 1..=16 {
        let bye = in_dialog("BYE", &padding.to_string());
        let padded = |to| [outbound(to, &bye), vec![0xa5; padding]].concat();
        let (_, out, verdict) = path.sends(&padded(ADVERTISED));
        assert_eq!(verdict, "out_redirected_dialog", "{padding}");
        assert_eq!(out, padded(PHONE), "{padding}");
    }
}
