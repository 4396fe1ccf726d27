//! The OPTIONS that keeps a NAT mapping open (RFC 3261 11).

use std::{borrow::Cow, net::SocketAddr};

use nat_common::{abi::TEXT_LEN, engine::keepalive::BRANCH_LEN};

/// Parameters of a URI that say how to send, or what.
const NOT_BY_UDP: [&[u8]; 6] = [
    b";transport=t",
    b";transport=w",
    b";transport=s",
    b";maddr=",
    b";method=",
    b";ttl=",
];

/// Returns the Request-URI for a terminal: the Contact URI as the PBX wrote it, if all of it is known, is plainly one, and may be
/// asked by UDP; else the address to which the request goes.
pub(super) fn target(contact: &[u8], terminal: SocketAddr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()%&=+$,;/:@[]".contains(byte);
    let is_whole = !contact.is_empty() && contact.len() < TEXT_LEN;
    let lower = contact.to_ascii_lowercase();
    let says = |part: &&[u8]| lower.windows(part.len()).any(|it| it == *part);
    let by_udp = !NOT_BY_UDP.iter().any(says);
    let uri: Cow<'_, str> = if is_whole && by_udp && contact.iter().all(plain) {
        String::from_utf8_lossy(contact)
    } else {
        terminal.to_string().into()
    };
    format!("sip:{uri}")
}

/// Writes the request. The terminal answers to the PBX's socket, from which it comes.
pub(super) fn options(target: &str, pbx: SocketAddr, branch: &[u8; BRANCH_LEN]) -> String {
    let branch = String::from_utf8_lossy(branch);
    // Its end differs from ping to ping.
    let unique = &branch[BRANCH_LEN - 24..];
    format!(
        "OPTIONS {target} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {pbx};rport;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{pbx}>;tag={unique}\r\n\
         To: <{target}>\r\n\
         Call-ID: {unique}@{host}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:{pbx}>\r\n\
         Accept: application/sdp\r\n\
         User-Agent: sipnat\r\n\
         Content-Length: 0\r\n\
         \r\n",
        host = pbx.ip(),
    )
}

#[cfg(test)]
mod tests {
    use nat_common::{
        abi::Config,
        engine::keepalive::{Ping, answered, is_ping},
        sip,
    };

    use super::*;

    const PHONE: &str = "60.17.196.2:49163";

    #[test]
    fn the_target_is_the_contact_if_that_is_whole_and_plain() {
        let phone = PHONE.parse().unwrap();
        let whole = "1000@192.168.1.10;line=ab%23c";
        assert_eq!(target(whole.as_bytes(), phone), format!("sip:{whole}"));
        let long = [b'1'; TEXT_LEN];
        for contact in [
            &b""[..],
            &long,
            b"a>b@c",
            b"a\r\nX: y@c",
            b"a b@c",
            b"a?b=c@d",
            b"\xff@c",
            b"a@c;Transport=TCP",
            b"a@c;method=BYE",
            b"a@c;maddr=192.0.2.1",
        ] {
            assert_eq!(target(contact, phone), format!("sip:{PHONE}"));
        }
        let v6 = "[2001:db8::1]:5060".parse().unwrap();
        assert_eq!(target(b"", v6), "sip:[2001:db8::1]:5060");
    }

    #[test]
    fn the_programs_know_the_request_and_its_answer() {
        let config = Config {
            keepalive: Ping::digits(0xfedc_ba98_7654_3210),
            ..Config::default()
        };
        let ping = Ping {
            index: 77,
            nonce: Ping::digits(5),
        };
        for pbx in ["203.0.113.10:5060", "[2001:db8::5]:5080"] {
            let pbx = pbx.parse().unwrap();
            let target = target(b"1000@192.168.1.10:5060", PHONE.parse().unwrap());
            let text = options(&target, pbx, &ping.branch(config.keepalive));
            let request = sip::read(text.as_bytes()).unwrap();
            assert!(is_ping(&request, text.as_bytes(), config.keepalive));
            assert_eq!(answered(&request, text.as_bytes(), config.keepalive), None);
            let (_, headers) = text.split_once("\r\n").unwrap();
            let answer = format!("SIP/2.0 200 OK\r\n{headers}");
            let response = sip::read(answer.as_bytes()).unwrap();
            let known = answered(&response, answer.as_bytes(), config.keepalive);
            assert_eq!(known, Some(ping));
            assert!(!is_ping(&response, answer.as_bytes(), config.keepalive));
            let other = Ping::digits(1);
            assert_eq!(answered(&response, answer.as_bytes(), other), None);
            let invite = text.replace("OPTIONS", "INVITE");
            let request = sip::read(invite.as_bytes()).unwrap();
            assert!(!is_ping(&request, invite.as_bytes(), config.keepalive));
        }
    }
}
