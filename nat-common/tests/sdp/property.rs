//! Generated descriptions, compared with the `sdp-types` crate.

use nat_common::sdp::{self, LineFlags, MediaLine};
use nat_common::sip::Content;
use nat_test_oracle::sdp::{agrees, parsed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| format!("IN IP4 {}", std::net::Ipv4Addr::from(ip))),
        any::<[u16; 8]>().prop_map(|ip| format!("IN IP6 {}", std::net::Ipv6Addr::from(ip))),
        // Groups of zeros, which `::` stands for.
        vec(select(vec![0, 0, 1, 0xffff]), 8).prop_map(|ip| {
            let groups: [u16; 8] = ip.try_into().expect("eight");
            format!("IN IP6 {}", std::net::Ipv6Addr::from(groups))
        }),
        Just("IN IP4 phone.example.com".into()),
        Just("IN IP4 224.2.1.1/127".into()),
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "sendrecv",
            "sendonly",
            "recvonly",
            "inactive",
            "rtcp-mux",
            "ice-ufrag:9uB6",
            "ice-pwd:YH75Fviy6338Vbrhrlp8Yh",
            "rtpmap:0 PCMU/8000",
            "fmtp:101 0-15",
            "ptime:20",
            "candidate:1 1 UDP 2130706431 10.0.1.1 8998 typ host",
            "setup:actpass",
            "ssrc:1 cname:x",
            "fingerprint:sha-256 AA:BB",
            "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
            "rtcp-fb:* nack",
            "T38FaxVersion:0",
            "rtcp-xr:voip-metrics",
            "ice-lite",
            "sendonly-not:x",
        ])
        .prop_map(String::from),
        any::<u16>().prop_map(|port| format!("rtcp:{port}")),
        (any::<u16>(), address()).prop_map(|(port, address)| format!("rtcp:{port} {address}")),
    ]
}

fn media() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "audio",
        "video",
        "image",
        "text",
        "application",
        "message",
        "x-data",
    ]);
    let proto = select(vec![
        "RTP/AVP",
        "RTP/SAVP",
        "RTP/AVPF",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVPF",
        "udptl",
        "UDPTL",
        "TCP",
        "UDP/DTLS/SCTP",
        "TCP/RTP/AVP",
        "RTP/AVPX",
    ]);
    let port = prop_oneof![Just(0), any::<u16>()];
    let ports = select(vec!["", "", "", "/2"]);
    let rest = vec(attribute(), 0..6);
    // `c=` comes before attributes (RFC 8866 5).
    (kind, port, ports, proto, vec(address(), 0..3), rest).prop_map(
        |(kind, port, ports, proto, addresses, attributes)| {
            let mut text = format!("m={kind} {port}{ports} {proto} 0 8\r\n");
            for address in addresses {
                text += &format!("c={address}\r\n");
            }
            let mut has_rtcp = false;
            for attribute in attributes {
                // Two of them are read in two ways.
                let is_rtcp = attribute.starts_with("rtcp:");
                if !(is_rtcp && has_rtcp) {
                    text += &format!("a={attribute}\r\n");
                }
                has_rtcp |= is_rtcp;
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_as_another_parser_does(
        connection in proptest::option::of(address()),
        attributes in vec(attribute(), 0..3),
        media in vec(media(), 0..7),
        newline in select(vec!["\r\n", "\n"]),
    ) {
        let mut body = String::from("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\n");
        if let Some(address) = connection {
            body += &format!("c={address}\r\n");
        }
        body += "t=0 0\r\n";
        for attribute in attributes {
            body += &format!("a={attribute}\r\n");
        }
        body += &media.concat();
        let body = body.replace("\r\n", newline);
        let (lines, count) = parsed(body.as_bytes()).expect("a description");
        let text = format!("INVITE sip:b SIP/2.0\r\nc: application/sdp\r\n\r\n{body}");
        let ours = sdp::read(text.as_bytes()).expect("a description");
        prop_assert!(!ours.cut);
        prop_assert!(agrees(&ours, &lines, count), "{}\n{:?}\n{:?}", body, ours, lines);
        // A line is left alone only where the other parser leaves it alone.
        let alone = |line: &MediaLine| line.flags.contains(LineFlags::UNREADABLE);
        prop_assert!(ours.lines.iter().zip(&lines).all(|(ours, line)| alone(ours) == alone(line)));
    }

    /// Any bytes: the scanner ends, and the result does not depend on the message before.
    #[test]
    fn any_bytes(text in vec(any::<u8>(), 0..300), valid in 0..200_usize) {
        let mut message = crate::message(crate::bodies::ALL[0].1);
        message.truncate(valid);
        message.extend(text);
        let first = sdp::read(&message);
        let mut scan = sdp::Scan::default();
        let _ = scan.run::<[u8], nat_common::bpf::HostLoop, nat_common::bpf::HostLoop>(&crate::message(crate::bodies::ALL[1].1), &Content::default());
        let again = scan.run::<[u8], nat_common::bpf::HostLoop, nat_common::bpf::HostLoop>(&message, &Content::default()).map(|()| scan.description);
        prop_assert_eq!(first, again);
    }
}
