//! A STUN transaction, as the client.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use stun_types::{
    attribute::{
        AttributeStaticType as _, AttributeType, ErrorCode, MappedSocketAddr, Software,
        XorMappedAddress,
    },
    message::{BINDING, MAGIC_COOKIE, Message, MessageClass, MessageWrite as _, MessageWriteVec},
};

use crate::view::output;

/// Time until the first retransmission (RFC 8489 6.2.1).
const RTO: Duration = Duration::from_millis(500);
/// Number of requests (Rc).
const REQUESTS: u32 = 7;
/// Time to wait after the last request, in RTOs (Rm).
const LAST: u32 = 16;

/// Bytes of the magic cookie and the transaction's identifier, which are one identifier in RFC 3489.
const IDENTIFIER: std::ops::Range<usize> = 4..20;
/// Bytes of the magic cookie.
const COOKIE: std::ops::Range<usize> = 4..8;

/// Standard by which to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Rfc8489,
    /// Without the cookie. The answer has the address in clear text.
    Rfc3489,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// XOR-MAPPED-ADDRESS.
    pub(crate) mapped: Option<SocketAddr>,
    /// MAPPED-ADDRESS, which a NAT on the path may have changed.
    pub(crate) plain: Option<SocketAddr>,
    pub(crate) software: Option<String>,
    pub(crate) error: Option<Refusal>,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// Attributes of the request that the server does not know.
    pub(crate) unknown_attributes: Vec<String>,
}

/// An answer, and how it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    /// Number of requests sent.
    pub(crate) requests: u32,
    /// Time since the last of them.
    pub(crate) round_trip: Duration,
}

/// Asks the server that `socket` is connected to, for at most `patience`.
///
/// # Errors
/// If there is no answer, or none that can be understood.
pub(crate) fn ask(socket: &UdpSocket, style: Style, patience: Duration) -> Result<Reply> {
    let request = request(style)?;
    let end = Instant::now() + patience;
    let mut requests = 0;
    while requests < REQUESTS {
        send(socket, &request)?;
        let sent = Instant::now();
        let wait = if requests + 1 < REQUESTS {
            RTO * 2_u32.pow(requests)
        } else {
            RTO * LAST
        };
        requests += 1;
        if let Some(answer) = receive(socket, &request, end.min(sent + wait))? {
            return Ok(Reply {
                answer,
                requests,
                round_trip: sent.elapsed(),
            });
        }
        if Instant::now() >= end {
            break;
        }
    }
    bail!("no answer to {requests} requests")
}

fn request(style: Style) -> Result<Vec<u8>> {
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    if style == Style::Rfc3489 {
        // Any number but the cookie.
        let other = MAGIC_COOKIE ^ (getrandom::u32()? | 1);
        request[COOKIE].copy_from_slice(&other.to_be_bytes());
    }
    Ok(request)
}

fn send(socket: &UdpSocket, request: &[u8]) -> Result<()> {
    match socket.send(request) {
        Ok(_) => Ok(()),
        Err(error) => Err(explained(error)),
    }
}

fn receive(socket: &UdpSocket, request: &[u8], until: Instant) -> Result<Option<Answer>> {
    let mut packet = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut packet) {
            Ok(len) => {
                if let Some(answer) = read(&packet[..len], request)? {
                    return Ok(Some(answer));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(explained(error)),
        }
    }
}

fn explained(error: io::Error) -> anyhow::Error {
    let refused = error.kind() == ErrorKind::ConnectionRefused;
    let error = anyhow::Error::from(error);
    if refused {
        error.context("nobody answers STUN there")
    } else {
        error.context("cannot ask")
    }
}

/// Reads the answer to `request`; none if the packet is something else.
fn read(packet: &[u8], request: &[u8]) -> Result<Option<Answer>> {
    if packet.get(IDENTIFIER) != request.get(IDENTIFIER) {
        return Ok(None);
    }
    // The decoder needs the cookie, which answers by RFC 3489 lack.
    let mut packet = packet.to_vec();
    packet[COOKIE].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    let message = Message::from_bytes(&packet).context("the answer is malformed")?;
    if !message.has_method(BINDING) {
        return Ok(None);
    }
    // By RFC 3489 a text fills whole words. The server chooses the padding.
    let padding = |c: char| c == '\0' || c.is_whitespace();
    let text = |text: &str| output::printable(text.trim_end_matches(padding).as_bytes());
    let mut answer = Answer {
        software: message
            .attribute::<Software>()
            .ok()
            .map(|software| text(software.software())),
        ..Answer::default()
    };
    match message.class() {
        MessageClass::Success => {
            answer.mapped = message
                .attribute::<XorMappedAddress>()
                .ok()
                .map(|mapped| mapped.addr(message.transaction_id()));
            answer.plain = message
                .raw_attribute(AttributeType::new(1))
                .and_then(|raw| MappedSocketAddr::from_raw(&raw).ok())
                .map(|mapped| mapped.addr());
            if answer.mapped.or(answer.plain).is_none() {
                bail!("the answer holds no address");
            }
        }
        MessageClass::Error => {
            let error = message
                .attribute::<ErrorCode>()
                .context("the answer is an error, but holds no ERROR-CODE")?;
            answer.error = Some(Refusal {
                code: error.code(),
                reason: text(error.reason()),
                unknown_attributes: unknown(&message),
            });
        }
        MessageClass::Request | MessageClass::Indication => return Ok(None),
    }
    Ok(Some(answer))
}

fn unknown(message: &Message<'_>) -> Vec<String> {
    let list = message.raw_attribute(stun_types::attribute::UnknownAttributes::TYPE);
    let bytes = list.as_ref().map_or(&[][..], |list| &list.value);
    bytes
        .chunks_exact(2)
        .map(|kind| format!("0x{:02x}{:02x}", kind[0], kind[1]))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::thread::{self, JoinHandle};

    use stun_types::{attribute::UnknownAttributes, message::MessageWriteExt as _};

    use super::*;

    /// Starts a server that answers one request with each of `answers`. Its thread returns the requests.
    pub(crate) fn server(
        answers: impl IntoIterator<Item = fn(&[u8], SocketAddr) -> Vec<u8>> + Send + 'static,
    ) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let mut packet = [0; 100];
                let (len, from) = socket.recv_from(&mut packet).unwrap();
                requests.push(packet[..len].to_vec());
                socket.send_to(&answer(&packet[..len], from), from).unwrap();
            }
            requests
        });
        (addr, thread)
    }

    fn asking(to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to).unwrap();
        socket
    }

    pub(crate) fn success(request: &[u8], from: SocketAddr) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut answer = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(from, request.transaction_id());
        answer.add_attribute(&mapped).unwrap();
        answer
            .add_attribute(&Software::new("a\x1b[2Jserver \0").unwrap())
            .unwrap();
        answer.add_fingerprint().unwrap();
        answer.finish()
    }

    pub(crate) fn unknown_attribute(request: &[u8], _: SocketAddr) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut answer = Message::builder_error(&request, MessageWriteVec::new());
        answer
            .add_attribute(&ErrorCode::new(420, "Unknown Attribute").unwrap())
            .unwrap();
        answer
            .add_attribute(&UnknownAttributes::new(&[
                AttributeType::new(3),
                AttributeType::new(0x7fff),
            ]))
            .unwrap();
        answer.finish()
    }

    fn another_transaction(request: &[u8], from: SocketAddr) -> Vec<u8> {
        let mut answer = success(request, from);
        answer[19] ^= 1;
        answer
    }

    /// Answers by RFC 3489 11.1 and 11.2.1: no cookie, and the address in clear text.
    fn classic(request: &[u8], from: SocketAddr) -> Vec<u8> {
        let SocketAddr::V4(from) = from else {
            panic!("{from}")
        };
        [
            &[1, 1, 0, 12][..],
            &request[IDENTIFIER],
            &[0, 1, 0, 8, 0, 1],
            &from.port().to_be_bytes(),
            &from.ip().octets(),
        ]
        .concat()
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_address_is_read_and_other_s_text_is_made_safe() {
        let (addr, server) = server([success as fn(&_, _) -> _]);
        let socket = asking(addr);
        let reply = ask(&socket, Style::Rfc8489, PATIENCE).unwrap();
        assert_eq!(reply.answer.mapped, Some(socket.local_addr().unwrap()));
        assert_eq!(reply.answer.software.as_deref(), Some("a\u{fffd}[2Jserver"));
        assert_eq!(reply.requests, 1);
        let requests = server.join().unwrap();
        let request = Message::from_bytes(&requests[0]).unwrap();
        assert_eq!(request.class(), MessageClass::Request);
        assert_eq!(requests[0].len(), 20);
    }

    #[test]
    fn a_request_is_repeated_until_its_own_answer_comes() {
        let (addr, server) = server([another_transaction as fn(&_, _) -> _, success]);
        let reply = ask(&asking(addr), Style::Rfc8489, PATIENCE).unwrap();
        assert_eq!(reply.requests, 2);
        let requests = server.join().unwrap();
        assert_eq!(requests[0], requests[1]);
    }

    #[test]
    fn patience_ends() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = asking(silent.local_addr().unwrap());
        let begun = Instant::now();
        let error = ask(&socket, Style::Rfc8489, Duration::from_millis(700)).unwrap_err();
        assert_eq!(error.to_string(), "no answer to 2 requests");
        assert!(begun.elapsed() >= Duration::from_millis(700));
        let nobody = silent.local_addr().unwrap();
        drop(silent);
        let error = ask(&asking(nobody), Style::Rfc8489, PATIENCE).unwrap_err();
        assert_eq!(error.to_string(), "nobody answers STUN there");
    }

    #[test]
    fn a_refusal_names_what_is_unknown() {
        let (addr, _server) = server([unknown_attribute as fn(&_, _) -> _]);
        let reply = ask(&asking(addr), Style::Rfc8489, PATIENCE).unwrap();
        let refusal = Refusal {
            code: 420,
            reason: "Unknown Attribute".into(),
            unknown_attributes: vec!["0x0003".into(), "0x7fff".into()],
        };
        assert_eq!(reply.answer.error, Some(refusal));
    }

    #[test]
    fn rfc_3489_is_asked_and_answered_without_the_cookie() {
        let (addr, server) = server([classic as fn(&_, _) -> _]);
        let socket = asking(addr);
        let reply = ask(&socket, Style::Rfc3489, PATIENCE).unwrap();
        assert_eq!(reply.answer.mapped, None);
        assert_eq!(reply.answer.plain, Some(socket.local_addr().unwrap()));
        let request = &server.join().unwrap()[0];
        assert_ne!(request[COOKIE], MAGIC_COOKIE.to_be_bytes());
        assert_eq!(request[..4], [0, 1, 0, 0]);
    }

    #[test]
    fn an_answer_without_an_address_is_none() {
        let request = request(Style::Rfc8489).unwrap();
        let message = Message::from_bytes(&request).unwrap();
        let empty = Message::builder_success(&message, MessageWriteVec::new()).finish();
        let error = read(&empty, &request).unwrap_err();
        assert_eq!(error.to_string(), "the answer holds no address");
        // Cut off; a request; nothing.
        assert!(
            read(
                &success(&request, "127.0.0.1:9".parse().unwrap())[..30],
                &request
            )
            .is_err()
        );
        assert_eq!(read(&request, &request).unwrap(), None);
        assert_eq!(read(b"", &request).unwrap(), None);
    }
}
