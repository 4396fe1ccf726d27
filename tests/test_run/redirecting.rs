//! Packets of the PBX follow the learned address: only destination and checksums change.

use nat_common::abi::{Policy, SECOND};

use crate::frames::{
    ADVERTISED, CALL, HEADERS, INVITE, PBX, PHONE, PRIVATE, REGISTER, STRANGER, ack, answer,
    in_dialog, inbound, outbound, udp,
};
use crate::run::Path;

#[test]
fn the_slide() {
    let mut path = Path::new();
    path.call();
    for method in [
        "INVITE", "ACK", "BYE", "UPDATE", "INFO", "NOTIFY", "REFER", "PRACK", "MESSAGE", "OPTIONS",
    ] {
        path.goes_to(
            &in_dialog(method, method),
            ADVERTISED,
            PHONE,
            "out_redirected_dialog",
        );
        // No ALG: another IP address, so the kernel must route again.
        path.goes_to(
            &in_dialog(method, method),
            PRIVATE,
            PHONE,
            "out_redirected_dialog",
        );
        let there = outbound(PHONE, &in_dialog(method, method));
        assert_eq!(path.leaves(&there), "out_already_there");
    }
    assert_eq!(path.dialogs()[0].redirected, 20);
}

#[test]
fn responses_contacts_cancel_and_ack() {
    let mut path = Path::new();
    path.register();
    // By a Via whose port is wrong: if the phone did not get it there, it repeats its request.
    let ok = answer(REGISTER, "200 OK");
    let by_via = outbound(ADVERTISED, &ok);
    assert_eq!(path.leaves(&by_via), "out_original_first");
    assert_eq!(path.arrives(&inbound(PHONE, REGISTER)), "in_repeat");
    path.goes_to(&ok, ADVERTISED, PHONE, "out_redirected_response");
    path.then_goes_to(CALL, ADVERTISED, PHONE, "out_redirected_contact");
    for method in ["CANCEL", "ACK"] {
        let message = CALL.replace("INVITE", method);
        path.goes_to(&message, ADVERTISED, PHONE, "out_redirected_invite");
    }
    let other = CALL
        .replace("sip:1000@60.17.196.2", "sip:1001@60.17.196.2")
        .replace("z9hG4bK-call", "z9hG4bK-o");
    assert_eq!(
        path.leaves(&outbound(ADVERTISED, &other)),
        "out_unknown_request"
    );
}

/// A PBX may write a Contact URI otherwise than the phone did (RFC 3261 19.1.4).
#[test]
fn a_contact_in_another_spelling() {
    const PHONES: &str =
        "%2B49.a-long-user.of.more.than.thirty-two.bytes@192.168.1.10:5060;ob;X=Y;lr";
    const PBXS: &str = "+49.a-long-user.of.more.than.thirty-two.bytes@192.168.1.10:5060;x=y;ob";
    let mut path = Path::new();
    let register = REGISTER.replace("sip:1000@60.17.196.2>", &format!("sip:{PHONES}>"));
    assert_ne!(register, REGISTER);
    path.arrives(&inbound(PHONE, &register));
    let listed = format!("Contact: <sip:{PBXS}>;expires=77\r\nContent-Length");
    let ok = answer(&register, "200 OK").replace("Content-Length", &listed);
    assert_eq!(path.events(PHONE, &ok), ["contact_activated"]);
    for contact in path.contacts() {
        assert_eq!(contact.expires - contact.seen, 77 * SECOND);
    }
    for (branch, uri) in [("phone", PHONES), ("pbx", PBXS)] {
        let call = CALL
            .replace("sip:1000@60.17.196.2", &format!("sip:{uri}"))
            .replace("z9hG4bK-call", branch);
        path.goes_to(&call, PRIVATE, PHONE, "out_redirected_contact");
    }
    let other = CALL.replace(
        "sip:1000@60.17.196.2",
        &format!("sip:{}", PBXS.replace("+49", "+48")),
    );
    assert_eq!(
        path.leaves(&outbound(PRIVATE, &other)),
        "out_unknown_request"
    );
}

/// All cases of the checksum arithmetic.
#[test]
fn checksums() {
    let mut path = Path::new();
    path.call();
    // Odd and even lengths, and bodies that bring the sum to any value, including 0.
    for n in 0..=40_u32 {
        let info = in_dialog("INFO", &n.to_string());
        let message = format!("{info}{}", "x".repeat(n as usize));
        path.goes_to(&message, ADVERTISED, PHONE, "out_redirected_dialog");
    }
    // A sum of 0 is sent as ffff, because 0 means "none" (RFC 768). One of these bodies has that sum.
    let info = in_dialog("INFO", "info");
    let payload = |body: u16| {
        [
            info.as_bytes(),
            &[b'x'; 2][..info.len() % 2],
            &body.to_be_bytes(),
        ]
        .concat()
    };
    let zero = (0..=u16::MAX)
        .map(payload)
        .find(|p| udp(PBX, PHONE, p)[40..42] == [0xff, 0xff]);
    let zero = zero.expect("a payload whose checksum is ffff");
    let (_, out, verdict) = path.sends(&udp(PBX, ADVERTISED, &zero));
    assert_eq!(
        (verdict, out),
        ("out_redirected_dialog", udp(PBX, PHONE, &zero))
    );
    // A packet without checksum stays without.
    let strip = |mut frame: Vec<u8>| {
        frame[40..42].fill(0);
        frame
    };
    let bye = in_dialog("BYE", "b");
    for meant in [ADVERTISED, PRIVATE] {
        let (_, out, _) = path.sends(&strip(outbound(meant, &bye)));
        assert_eq!(out, strip(outbound(PHONE, &bye)));
    }
}

/// IP options move the UDP header. It is found, on ingress and on egress.
#[test]
fn ip_options() {
    let with_options = |from: &str, to: &str, message: &str| {
        let mut frame = udp(from, to, message.as_bytes());
        frame.splice(34..34, [1, 1, 1, 0]);
        frame[14] = 0x46;
        let length = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        frame[24..26].fill(0);
        let sum = frame[14..38]
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum::<u32>();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let mut path = Path::new();
    assert_eq!(
        path.arrives(&with_options(PHONE, PBX, INVITE)),
        "in_request"
    );
    assert_eq!(
        path.leaves(&with_options(PBX, PHONE, &answer(INVITE, "200 OK"))),
        "out_already_there"
    );
    assert_eq!(path.arrives(&with_options(PHONE, PBX, &ack())), "in_ack");
    let bye = in_dialog("BYE", "b");
    for meant in [ADVERTISED, PRIVATE] {
        let (_, out, verdict) = path.sends(&with_options(PBX, meant, &bye));
        assert_eq!(
            (verdict, out),
            ("out_redirected_dialog", with_options(PBX, PHONE, &bye))
        );
    }
}

#[test]
fn policy() {
    let mut path = Path::new();
    path.call();
    let bye = outbound(ADVERTISED, &in_dialog("BYE", "b"));
    path.policy("60.17.196.0/24", Policy::Off);
    assert_eq!(path.leaves(&bye), "out_policy_off");
    path.policy("60.17.196.2/32", Policy::Auto);
    assert_eq!(path.sends(&bye).2, "out_redirected_dialog");
    // A second Via: another proxy is on the path.
    let mut path = Path::new();
    let proxied = INVITE.replace(
        "From:",
        "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK-2\r\nFrom:",
    );
    path.arrives(&inbound(PHONE, &proxied));
    path.leaves(&outbound(PHONE, &answer(&proxied, "200 OK")));
    assert_eq!(path.leaves(&bye), "out_not_direct");
    path.policy("60.17.196.2/32", Policy::Force);
    assert_eq!(path.sends(&bye).2, "out_redirected_dialog");
    let routed = in_dialog("BYE", "r").replace("From:", "Route: <sip:edge;lr>\r\nFrom:");
    assert_eq!(path.leaves(&outbound(ADVERTISED, &routed)), "out_route");
    // One that names the terminal leads to no other hop.
    let host = ADVERTISED.split(':').next().unwrap();
    let route = format!("Route: <sip:1000@{host}:5060>\r\nFrom:");
    let routed = in_dialog("BYE", "t").replace("From:", &route);
    let targeted = routed.replacen(
        "BYE sip:1000@192.168.1.10",
        &format!("BYE sip:1000@{host}"),
        1,
    );
    assert_eq!(
        path.sends(&outbound(ADVERTISED, &targeted)).2,
        "out_redirected_dialog"
    );
}

/// One of several sources of a request is not the terminal: its response is left alone, and nothing is learned.
#[test]
fn a_request_of_two_sources() {
    let mut path = Path::new();
    assert_eq!(path.arrives(&inbound(PHONE, INVITE)), "in_request");
    assert_eq!(path.arrives(&inbound(PHONE, INVITE)), "in_repeat");
    assert_eq!(path.arrives(&inbound(STRANGER, INVITE)), "in_other_source");
    let ok = answer(INVITE, "200 OK");
    for meant in [ADVERTISED, PRIVATE, PHONE, STRANGER] {
        assert_eq!(path.leaves(&outbound(meant, &ok)), "out_disputed");
    }
    assert!(path.dialogs().is_empty());
    assert_eq!(HEADERS, outbound(PHONE, "").len());
}

/// The kernel routes a packet again only if its IP address has changed.
#[test]
fn next_hop() {
    let mut path = Path::new();
    path.call();
    let bye = in_dialog("BYE", "b");
    assert_eq!(path.events(ADVERTISED, &bye), [""; 0]);
    assert_eq!(path.events(PRIVATE, &bye), ["next_hop_changed"]);
}
