//! Frames, and SIP messages to put into them.

use std::net::SocketAddr;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// Address of the PBX.
pub(crate) const PBX: &str = "203.0.113.10:5060";
/// Source of the phone's packets.
pub(crate) const PHONE: &str = "60.17.196.2:49163";
/// Address in the phone's Contact.
pub(crate) const ADVERTISED: &str = "60.17.196.2:5060";
/// Address in the Contact of a phone behind a router without ALG.
pub(crate) const PRIVATE: &str = "192.168.1.10:5060";
/// Source of another phone behind the same router.
pub(crate) const OTHER_PHONE: &str = "60.17.196.2:49164";
/// Source of another host.
pub(crate) const STRANGER: &str = "198.51.100.66:6666";

/// Length of the headers before the payload.
pub(crate) const HEADERS: usize = 14 + 20 + 8;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Returns a UDP datagram over IP and Ethernet, with right checksums.
pub(crate) fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (from, to) = (address(from), address(to));
    let ip = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            ethernet.ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            ethernet.ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        _ => panic!("{from} and {to}"),
    };
    let builder = ip.udp(from.port(), to.port());
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a frame");
    frame
}

/// Returns a frame from `from` to the PBX.
pub(crate) fn inbound(from: &str, message: &str) -> Vec<u8> {
    udp(from, PBX, message.as_bytes())
}

/// Returns a frame from the PBX to `to`.
pub(crate) fn outbound(to: &str, message: &str) -> Vec<u8> {
    udp(PBX, to, message.as_bytes())
}

/// Whether both checksums are right.
pub(crate) fn checksums_are_right(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        panic!("not UDP");
    };
    let header = udp.to_header();
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header().to_header();
            let right = header.calc_checksum_ipv4(&ip, udp.payload());
            ip.header_checksum == ip.calc_header_checksum()
                && (header.checksum == right.expect("a checksum") || header.checksum == 0)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header().to_header();
            let right = header.calc_checksum_ipv6(&ip, udp.payload());
            header.checksum == right.expect("a checksum")
        }
        _ => panic!("not IP"),
    }
}

/// Inserts VLAN tags, the outermost first.
pub(crate) fn tagged(mut frame: Vec<u8>, tags: &[[u8; 4]]) -> Vec<u8> {
    frame.splice(12..12, tags.concat());
    frame
}

/// INVITE of the phone.
pub(crate) const INVITE: &str = "INVITE sip:1002@203.0.113.10 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 60.17.196.2;branch=z9hG4bK-phone\r\n\
    From: <sip:1000@pbx>;tag=phone\r\n\
    To: <sip:1002@pbx>\r\n\
    Call-ID: call@192.168.1.10\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:1000@60.17.196.2>\r\n\
    Content-Length: 0\r\n\r\n";

/// Returns the PBX's response to a request of the phone.
pub(crate) fn answer(request: &str, status: &str) -> String {
    let rest = request.split_once("\r\n").expect("a start line").1;
    let to = rest
        .lines()
        .find(|line| line.starts_with("To:"))
        .expect("To");
    let tagged = if to.contains("tag=") {
        to.to_owned()
    } else {
        format!("{to};tag=pbx")
    };
    let lines = rest
        .split("\r\n")
        .filter(|line| !line.starts_with("Contact:"));
    format!(
        "SIP/2.0 {status}\r\n{}",
        lines.collect::<Vec<_>>().join("\r\n")
    )
    .replace(to, &tagged)
}

/// Returns the phone's ACK to the PBX's 2xx.
pub(crate) fn ack() -> String {
    INVITE
        .replace("INVITE", "ACK")
        .replace("<sip:1002@pbx>", "<sip:1002@pbx>;tag=pbx")
        .replace("z9hG4bK-phone", "z9hG4bK-ack")
}

/// Returns a request of the PBX within the phone's call.
pub(crate) fn in_dialog(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:1000@60.17.196.2 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.10;branch=z9hG4bK-{branch}\r\n\
         From: <sip:1002@pbx>;tag=pbx\r\n\
         To: <sip:1000@pbx>;tag=phone\r\n\
         Call-ID: call@192.168.1.10\r\n\
         CSeq: 102 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// REGISTER of the phone.
pub(crate) const REGISTER: &str = "REGISTER sip:pbx SIP/2.0\r\n\
    Via: SIP/2.0/UDP 60.17.196.2;branch=z9hG4bK-reg\r\n\
    From: <sip:1000@pbx>;tag=phone\r\n\
    To: <sip:1000@pbx>\r\n\
    Call-ID: registration\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:1000@60.17.196.2>\r\n\
    Content-Length: 0\r\n\r\n";

/// INVITE of the PBX to the phone's contact.
pub(crate) const CALL: &str = "INVITE sip:1000@60.17.196.2 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.10;branch=z9hG4bK-call\r\n\
    From: <sip:1002@pbx>;tag=pbx\r\n\
    To: <sip:1000@pbx>\r\n\
    Call-ID: incoming\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:pbx@203.0.113.10>\r\n\
    Content-Length: 0\r\n\r\n";
