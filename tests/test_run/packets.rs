//! SIP is found and redirected in every kind of packet that carries it.

use std::thread;

use nat_common::abi::Policy;

use crate::frames::{
    ADVERTISED, HEADERS, INVITE, PBX, PHONE, PRIVATE, ack, answer, checksums_are_right, in_dialog,
    inbound, outbound, tagged, udp,
};
use crate::run::{Path, TC_ACT_REDIRECT, TC_ACT_UNSPEC, TICK, endpoint};

pub(crate) const PBX6: &str = "[2001:db8::10]:5060";
pub(crate) const PHONE6: &str = "[2001:db8:1::2]:49163";
pub(crate) const ADVERTISED6: &str = "[2001:db8:1::2]:5060";
pub(crate) const PRIVATE6: &str = "[fd00::10]:5060";

const ETHERNET: usize = 14;
const IPV6: usize = ETHERNET + 40;

/// The phone calls over IPv6, and the PBX accepts.
fn call6(path: &mut Path) {
    assert_eq!(
        path.arrives(&udp(PHONE6, PBX6, INVITE.as_bytes())),
        "in_request"
    );
    let answer = answer(INVITE, "200 OK");
    path.leaves(&udp(PBX6, PHONE6, answer.as_bytes()));
    assert_eq!(path.arrives(&udp(PHONE6, PBX6, ack().as_bytes())), "in_ack");
}

#[test]
fn ipv6() {
    let mut path = Path::new();
    call6(&mut path);
    assert_eq!(path.dialogs()[0].learned, endpoint(PHONE6));
    for (meant, action) in [(ADVERTISED6, TC_ACT_UNSPEC), (PRIVATE6, TC_ACT_REDIRECT)] {
        for length in 0..20 {
            let info = in_dialog("INFO", &format!("{action}-{length}")) + &"x".repeat(length);
            let (did, out, verdict) = path.sends(&udp(PBX6, meant, info.as_bytes()));
            assert_eq!((did, verdict), (action, "out_redirected_dialog"), "{meant}");
            assert!(checksums_are_right(&out), "{meant} {length}");
            assert_eq!(out, udp(PBX6, PHONE6, info.as_bytes()), "{meant} {length}");
        }
    }
    // Another socket of the host knows nothing of the call, so that no packet would have to change its version of IP.
    let bye = outbound(ADVERTISED, &in_dialog("BYE", "v4"));
    assert_eq!(path.leaves(&bye), "out_unknown_request");
}

/// A PBX bound to no address may answer from another than it was asked at. One bound to an address does not: a socket at
/// another address is another PBX.
#[test]
fn a_socket_bound_to_no_address() {
    for (mut path, wildcard) in [(Path::new(), false), (Path::wildcard(), true)] {
        path.arrives(&inbound(PHONE, INVITE));
        let ok = answer(INVITE, "200 OK");
        let from_another = udp("203.0.113.11:5060", PHONE, ok.as_bytes());
        let verdict = path.leaves(&from_another);
        let (known, dialogs) = if wildcard {
            ("out_already_there", 1)
        } else {
            ("out_unknown_response", 0)
        };
        assert_eq!((verdict, path.dialogs().len()), (known, dialogs));
    }
}

#[test]
fn ipv6_sources() {
    let mut path = Path::new();
    for source in [
        "[::]:5060",
        "[::1]:5060",
        "[ff02::1]:5060",
        "[::ffff:60.17.196.2]:49163",
    ] {
        let frame = udp(source, PBX6, INVITE.as_bytes());
        assert_eq!(path.arrives(&frame), "in_bad_source", "{source}");
    }
}

/// Another mapping of the phone by its NAT.
const MOVED6: &str = "[2001:db8:1::2]:49170";
/// Offset of the UDP checksum in a frame.
const CHECKSUM6: usize = IPV6 + 6;

/// Returns the phone's answer to an INFO of the PBX, with a body. It comes from another mapping than the phone's call.
fn answer6(body: &[u8]) -> Vec<u8> {
    let ok = answer(&in_dialog("INFO", "info"), "200 OK");
    udp(MOVED6, PBX6, &[ok.as_bytes(), body].concat())
}

/// The PBX sends an INFO in the phone's call. Fails unless the answer in a frame counts, or does not count.
fn counts6(path: &mut Path, frame: &[u8], counts: bool, case: &str) {
    call6(path);
    // An answer to a request of the same tick moves nothing.
    thread::sleep(TICK);
    let info = udp(PBX6, PRIVATE6, in_dialog("INFO", "info").as_bytes());
    assert_eq!(path.sends(&info).2, "out_redirected_dialog");
    let (verdict, learned) = if counts {
        ("in_response", MOVED6)
    } else {
        ("in_checksum", PHONE6)
    };
    assert_eq!(path.arrives(frame), verdict, "{case}");
    assert_eq!(path.dialogs()[0].learned, endpoint(learned), "{case}");
}

/// A response counts only with a right checksum. Over IPv6 a datagram must have one (RFC 8200 8.1).
#[test]
fn ipv6_checksums() {
    let with = |mut frame: Vec<u8>, checksum: [u8; 2]| {
        frame[CHECKSUM6..CHECKSUM6 + 2].copy_from_slice(&checksum);
        frame
    };
    // Lengths of each remainder by eight, as the message is copied in words.
    for length in 0..8 {
        let right = answer6(&[b'x'; 8][..length]);
        counts6(&mut Path::new(), &right, true, &format!("{length}"));
        // Source port, checksum, reason phrase, last byte of the body.
        let places = [IPV6 + 1, CHECKSUM6 + 1, IPV6 + 8 + 12, right.len() - 1];
        for place in &places[..3 + usize::from(length > 0)] {
            let mut wrong = right.clone();
            wrong[*place] ^= 1;
            let case = format!("{length}, byte {place} changed");
            counts6(&mut Path::new(), &wrong, false, &case);
        }
        let absent = with(right, [0, 0]);
        counts6(&mut Path::new(), &absent, false, &format!("{length}, none"));
    }
    // A sum of 0 is sent as ffff, because 0 means "none". One of these bodies has that sum.
    let odd = answer6(b"").len() % 2;
    let zero = (0..=u16::MAX)
        .map(|body| answer6(&[&[b'x'; 1][..odd], &body.to_be_bytes()].concat()))
        .find(|frame| frame[CHECKSUM6..CHECKSUM6 + 2] == [0xff, 0xff])
        .expect("a payload whose checksum is ffff");
    counts6(&mut Path::new(), &zero, true, "ffff");
    counts6(&mut Path::new(), &with(zero, [0, 0]), false, "0 for ffff");
}

/// A sender on this host leaves the checksum to its NIC, and writes only the sum of the pseudo-header.
#[test]
fn partial_ipv6_checksums() {
    let mut frame = answer6(b"x");
    let sum = frame[ETHERNET + 8..IPV6]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum::<u32>();
    let sum = sum + 17 + (frame.len() - IPV6) as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[CHECKSUM6..CHECKSUM6 + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    counts6(&mut Path::new(), &frame, false, "no such sender");
    counts6(&mut Path::with_partial_checksums(), &frame, true, "partial");
    let right = answer6(b"x");
    counts6(&mut Path::with_partial_checksums(), &right, true, "whole");
}

/// Returns a frame with extension headers, each a type and its bytes. The first byte is replaced by the next type.
pub(crate) fn extended(mut frame: Vec<u8>, headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, (_, header)) in headers.iter().enumerate() {
        let following = headers.get(index + 1).map_or(frame[20], |(next, _)| *next);
        bytes.push(following);
        bytes.extend(&header[1..]);
    }
    frame[20] = headers[0].0;
    let length = u16::from_be_bytes([frame[18], frame[19]]) + bytes.len() as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame.splice(IPV6..IPV6, bytes);
    frame
}

/// Returns an options header of this number of eight-byte units, filled with padding.
pub(crate) fn options(kind: u8, eights: u8) -> (u8, Vec<u8>) {
    let length = usize::from(eights) * 8 - 4;
    let mut bytes = vec![0, eights - 1, 1, length as u8];
    bytes.resize(usize::from(eights) * 8, 0);
    (kind, bytes)
}

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;

#[test]
fn ipv6_extension_headers() {
    for headers in [
        vec![options(HOP_BY_HOP, 1)],
        vec![options(DESTINATION_OPTIONS, 3)],
        vec![options(HOP_BY_HOP, 2), options(DESTINATION_OPTIONS, 1)],
        // A datagram in one fragment (RFC 6946).
        vec![(FRAGMENT, vec![0; 8])],
    ] {
        let mut path = Path::new();
        let frame = |from, to, text: &str| extended(udp(from, to, text.as_bytes()), &headers);
        assert_eq!(path.arrives(&frame(PHONE6, PBX6, INVITE)), "in_request");
        path.leaves(&frame(PBX6, PHONE6, &answer(INVITE, "200 OK")));
        let bye = in_dialog("BYE", "b");
        let (_, out, verdict) = path.sends(&frame(PBX6, PRIVATE6, &bye));
        assert_eq!(verdict, "out_redirected_dialog", "{headers:?}");
        assert_eq!(out, frame(PBX6, PHONE6, &bye), "{headers:?}");
        for n in ETHERNET + 1..IPV6 + 8 {
            assert_eq!(
                path.arrives(&frame(PHONE6, PBX6, INVITE)[..n]),
                "in_malformed",
                "{n}"
            );
        }
    }
    let mut path = Path::new();
    // A routing header: this is not the last destination.
    let routed = extended(udp(PHONE6, PBX6, INVITE.as_bytes()), &[options(ROUTING, 1)]);
    assert_eq!(path.arrives(&routed), "in_not_udp");
    let many = extended(
        udp(PHONE6, PBX6, INVITE.as_bytes()),
        &vec![options(DESTINATION_OPTIONS, 1); 5],
    );
    assert_eq!(path.arrives(&many), "in_not_udp");
}

#[test]
fn vlan_tags() {
    for tags in [
        &[[0x81, 0, 0, 7]][..],
        &[[0x88, 0xa8, 0, 9], [0x81, 0, 0, 7]],
    ] {
        let mut path = Path::new();
        let invite = tagged(inbound(PHONE, INVITE), tags);
        assert_eq!(path.arrives(&invite), "in_request");
        let answer = outbound(PHONE, &answer(INVITE, "200 OK"));
        assert_eq!(path.leaves(&tagged(answer, tags)), "out_already_there");
        let ack = tagged(inbound(PHONE, &ack()), tags);
        assert_eq!(path.arrives(&ack), "in_ack");
        let bye = in_dialog("BYE", "b");
        for meant in [ADVERTISED, PRIVATE] {
            let (action, out, verdict) = path.sends(&tagged(outbound(meant, &bye), tags));
            // A VLAN packet is never routed again: the routes of a VLAN use another interface.
            assert_eq!((action, verdict), (TC_ACT_UNSPEC, "out_redirected_dialog"));
            assert_eq!(out, tagged(outbound(PHONE, &bye), tags));
        }
        for n in ETHERNET..ETHERNET + 4 * tags.len() + 28 {
            assert_eq!(path.arrives(&invite[..n]), "in_malformed", "{n}");
        }
    }
}

/// Every local address and each of eight ports is served.
#[test]
fn ports_and_local_addresses() {
    let ports = [5060, 5061, 5062, 5070, 5080, 15060, 50600, 65535];
    let mut path = Path::with(|setup| setup.settings.ports = ports.into());
    for (number, port) in ports.into_iter().enumerate() {
        let local = format!("203.0.113.{}:{port}", 10 + number);
        let other = |text: &str| text.replace("call@", &format!("call-{port}@"));
        path.arrives(&udp(PHONE, &local, other(INVITE).as_bytes()));
        let answer = other(&answer(INVITE, "200 OK"));
        path.leaves(&udp(&local, PHONE, answer.as_bytes()));
        path.arrives(&udp(PHONE, &local, other(&ack()).as_bytes()));
        let bye = other(&in_dialog("BYE", "b"));
        let (_, out, _) = path.sends(&udp(&local, ADVERTISED, bye.as_bytes()));
        assert_eq!(out, udp(&local, PHONE, bye.as_bytes()), "{local}");
    }
    let other = udp(PHONE, "203.0.113.10:5063", INVITE.as_bytes());
    assert_eq!(path.arrives(&other), "in_other_port");
}

/// Returns the fragments of a frame, each with at most `mtu` bytes of IP.
pub(crate) fn fragments(frame: &[u8], mtu: usize, id: u8) -> Vec<Vec<u8>> {
    let is_v6 = frame[12..14] == [0x86, 0xdd];
    let header = if is_v6 { IPV6 } else { ETHERNET + 20 };
    let extra = if is_v6 { 8 } else { 0 };
    let step = (mtu - (header - ETHERNET) - extra) / 8 * 8;
    let parts: Vec<&[u8]> = frame[header..].chunks(step).collect();
    let last = parts.len() - 1;
    let make = |(number, part): (usize, &&[u8])| {
        let (offset, more) = (number * step, number < last);
        let mut out = frame[..header].to_vec();
        if is_v6 {
            let length = (part.len() + 8) as u16;
            out[18..20].copy_from_slice(&length.to_be_bytes());
            out[20] = FRAGMENT;
            let place = (offset as u16) | u16::from(more);
            out.extend([17, 0]);
            out.extend(place.to_be_bytes());
            out.extend([0, 0, 0, id]);
        } else {
            let length = (part.len() + 20) as u16;
            out[16..18].copy_from_slice(&length.to_be_bytes());
            out[18..20].copy_from_slice(&[0, id]);
            let place = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            out[20..22].copy_from_slice(&place.to_be_bytes());
            out[24..26].fill(0);
            let sum: u32 = out[14..34]
                .chunks(2)
                .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            out[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        out.extend(*part);
        out
    };
    parts.iter().enumerate().map(make).collect()
}

/// Returns a message with a body that needs more than one packet.
pub(crate) fn long(text: &str) -> String {
    text.to_owned() + &"v=0 and more of it\r\n".repeat(200)
}

#[test]
fn a_fragmented_request_is_learned() {
    for (phone, pbx) in [(PHONE, PBX), (PHONE6, PBX6)] {
        let mut path = Path::new();
        let parts = fragments(&udp(phone, pbx, long(INVITE).as_bytes()), 1500, 1);
        assert!(parts.len() > 2);
        assert_eq!(path.arrives(&parts[0]), "in_request");
        for part in &parts[1..] {
            assert_eq!(path.arrives(part), "in_fragment");
        }
        let answer = answer(INVITE, "200 OK");
        path.leaves(&udp(pbx, phone, answer.as_bytes()));
        assert_eq!(path.dialogs()[0].learned, endpoint(phone));
        // The headers do not all fit into the first fragment.
        let mut path = Path::new();
        let parts = fragments(&udp(phone, pbx, long(INVITE).as_bytes()), 200, 1);
        let verdict = path.arrives(&parts[0]);
        assert!(verdict.starts_with("in_doubt_"), "{verdict}");
    }
}

/// A device may send no empty line. The end of a fragment is not the end of a datagram: it ends no headers, even between
/// two lines.
#[test]
fn the_end_of_a_datagram_ends_the_headers() {
    let headers = INVITE.strip_suffix("\r\n").expect("an empty line");
    for (phone, pbx, room) in [(PHONE, PBX, 1472), (PHONE6, PBX6, 1440)] {
        let mut path = Path::new();
        assert_eq!(
            path.arrives(&udp(phone, pbx, headers.as_bytes())),
            "in_request"
        );
        let answer = answer(headers, "200 OK");
        path.leaves(&udp(pbx, phone, answer.as_bytes()));
        assert_eq!(path.dialogs()[0].learned, endpoint(phone));

        for spare in [0, 1, 2, 8] {
            let mut path = Path::new();
            let filler = "x".repeat(room - spare - headers.len() - "X: \r\n".len());
            let message = long(&format!("{headers}X: {filler}\r\n\r\n"));
            let parts = fragments(&udp(phone, pbx, message.as_bytes()), 1500, 1);
            let whole = spare >= "\r\n".len();
            let verdict = if whole {
                "in_request"
            } else {
                "in_doubt_truncated"
            };
            let found = path.arrives(&parts[0]);
            // A CR that is the last byte may have no LF.
            assert!(
                found == verdict || spare == 1 && found == "in_doubt_syntax",
                "{spare}: {found}"
            );
        }
    }
}

/// CRLFs before the start line are skipped (RFC 3261 7.5), and some devices send a status without a reason.
#[test]
fn what_surrounds_the_start_line() {
    for crlfs in 1..6 {
        let mut path = Path::new();
        let invite = "\r\n".repeat(crlfs) + INVITE;
        assert_eq!(path.arrives(&inbound(PHONE, &invite)), "in_request");
        path.leaves(&outbound(PHONE, &answer(INVITE, "200")));
        assert_eq!(path.dialogs()[0].learned, endpoint(PHONE), "{crlfs}");
    }
}

/// Sends fragments. Returns the outcome of each, and the verdicts.
fn send(path: &mut Path, parts: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<&'static str>) {
    parts
        .iter()
        .map(|part| {
            let (_, out, verdict) = path.sends(part);
            (out, verdict)
        })
        .unzip()
}

#[test]
fn a_fragmented_request_is_redirected_in_all_its_fragments() {
    let redirected = [
        "out_redirected_dialog",
        "out_fragment_redirected",
        "out_fragment_redirected",
        "out_fragment_redirected",
    ];
    for (pbx, phone, same_address, other_address) in [
        (PBX, PHONE, ADVERTISED, PRIVATE),
        (PBX6, PHONE6, ADVERTISED6, PRIVATE6),
    ] {
        let mut path = Path::new();
        if pbx == PBX {
            path.call();
        } else {
            call6(&mut path);
        }
        let parts = |to, id: u8| {
            let text = long(&in_dialog("INVITE", &format!("f{id}")));
            fragments(&udp(pbx, to, text.as_bytes()), 1400, id)
        };
        let (out, verdicts) = send(&mut path, &parts(other_address, 1));
        assert_eq!(verdicts, redirected[..verdicts.len()]);
        assert_eq!(out, parts(phone, 1));
        // Only the first fragment has another port.
        let (out, verdicts) = send(&mut path, &parts(same_address, 2));
        assert_eq!(verdicts[..2], ["out_redirected_dialog", "out_fragment"]);
        assert_eq!(out, parts(phone, 2));

        // The last fragment is shorter than a UDP header.
        let headers = if pbx == PBX { ETHERNET + 20 } else { IPV6 + 8 };
        let short = |to, id: u8| {
            let mut text = long(&in_dialog("INVITE", &format!("f{id}")));
            loop {
                let parts = fragments(&udp(pbx, to, text.as_bytes()), 1400, id);
                if parts.last().is_some_and(|last| last.len() == headers + 3) {
                    return parts;
                }
                text.push('x');
            }
        };
        let (out, _) = send(&mut path, &short(other_address, 6));
        assert_eq!(out, short(phone, 6));

        // Fragments of another, unknown datagram on the same path come in between.
        let (ours, mut other) = (parts(other_address, 3), parts(other_address, 4));
        let text = long(&in_dialog("INVITE", "x")).replace("tag=phone", "tag=unknown");
        let unknown = fragments(&udp(pbx, other_address, text.as_bytes()), 1400, 4);
        other.clone_from(&unknown);
        let (mixed, want): (Vec<_>, Vec<_>) = ours
            .iter()
            .zip(&other)
            .zip(parts(phone, 3).into_iter().zip(&other))
            .flat_map(|((a, b), (to, left))| [(a.clone(), to), (b.clone(), left.clone())])
            .unzip();
        let (out, verdicts) = send(&mut path, &mixed);
        assert_eq!(out, want);
        assert_eq!(
            verdicts[..4],
            [
                redirected[0],
                "out_unknown_request",
                redirected[1],
                "out_fragment"
            ]
        );

        // A later fragment comes first: none is redirected.
        let mut shuffled = parts(other_address, 5);
        shuffled.rotate_left(1);
        let (out, verdicts) = send(&mut path, &shuffled);
        assert_eq!(out, shuffled);
        assert_eq!(verdicts[0], "out_fragment");
        assert_eq!(*verdicts.last().expect("fragments"), "out_fragment_refused");
    }
}

/// If policy leaves the first fragment alone, it leaves the others alone as well.
#[test]
fn a_fragmented_request_is_left_alone_in_all_its_fragments() {
    let mut path = Path::new();
    path.call();
    path.policy("60.17.196.2/32", Policy::Off);
    let text = long(&in_dialog("INVITE", "f"));
    for part in fragments(&udp(PBX, PRIVATE, text.as_bytes()), 1400, 9) {
        path.leaves(&part);
    }
}

/// A frame in several buffers, as with a large MTU: the headers must be in the first.
#[test]
fn a_large_frame() {
    let mut path = Path::new();
    let message = INVITE.to_owned() + &"x".repeat(8000);
    assert_eq!(path.arrives(&inbound(PHONE, &message)), "in_request");
    let filler = format!("X: {}\r\nContent-Length", "x".repeat(8000));
    let message = INVITE.replace("Content-Length", &filler);
    assert_eq!(
        path.arrives(&inbound(PHONE, &message)),
        "in_doubt_truncated"
    );
    // On egress the program pulls the frame into one buffer. (Test runs of a TC program take no more.)
    let answer = answer(INVITE, "200 OK");
    path.leaves(&outbound(PHONE, &answer));
    path.arrives(&inbound(PHONE, &ack()));
    let filler = format!("X: {}\r\nContent-Length", "x".repeat(2800));
    let bye = in_dialog("BYE", "b").replace("Content-Length", &filler);
    let (_, out, verdict) = path.sends(&outbound(ADVERTISED, &bye));
    assert_eq!(verdict, "out_redirected_dialog");
    assert_eq!(out, outbound(PHONE, &bye));
    assert!(out.len() > HEADERS + 2800);
}
