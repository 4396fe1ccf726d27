//! Reference for STUN: reads requests and answers with the `stun-types` crate, and compares them with the rules of
//! RFC 3489, 5389 and 8489.

use std::net::SocketAddr;

use stun_types::attribute::{
    Attribute as _, AttributeExt as _, AttributeStaticType as _, ErrorCode, Fingerprint,
    MappedSocketAddr, MessageIntegrity, MessageIntegritySha256, Nonce, PasswordAlgorithm,
    RawAttribute, Realm, Software, UnknownAttributes, Userhash, Username, XorMappedAddress,
};
use stun_types::message::{BINDING, Message, MessageClass, MessageType};

use super::input::COOKIE;

const HEADER: usize = 20;

/// Expected treatment of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Passed unchanged.
    Untouched,
    /// Answered with its source address.
    Answered,
    /// Answered with error 420, which names these attributes.
    Refused(Vec<u16>),
}

/// Whether a message is of RFC 3489, which has no magic cookie.
fn is_classic(message: &[u8]) -> bool {
    message[4..8] != COOKIE
}

/// Returns types and values of the attributes; `None` where their lengths contradict the message.
fn attributes(message: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut rest = message.get(HEADER..)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let attribute = RawAttribute::from_bytes(rest).ok()?;
        all.push((attribute.get_type().value(), attribute.value.to_vec()));
        rest = rest.get(attribute.padded_len()..)?;
    }
    Some(all)
}

/// Returns the expected treatment of a datagram, for any source.
pub fn expected(message: &[u8]) -> Expected {
    read(message).unwrap_or(Expected::Untouched)
}

fn read(message: &[u8]) -> Option<Expected> {
    if message.len() < HEADER {
        return None;
    }
    let kind = MessageType::from_bytes(message).ok()?;
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    if kind.class() != MessageClass::Request
        || kind.method() != BINDING
        || length + HEADER != message.len()
    {
        return None;
    }
    let all = attributes(message)?;
    if all.len() > 32 || message.len() > 548 {
        return None;
    }
    if !is_classic(message) {
        let print = Fingerprint::TYPE.value();
        let place = all.iter().position(|(kind, _)| *kind == print);
        if place.is_some_and(|place| place + 1 != all.len()) {
            return None;
        }
        // FINGERPRINT, if any, is right.
        Message::from_bytes(message).ok()?;
    }
    let credentials = [
        Username::TYPE,
        MessageIntegrity::TYPE,
        MessageIntegritySha256::TYPE,
        Realm::TYPE,
        Nonce::TYPE,
        PasswordAlgorithm::TYPE,
        Userhash::TYPE,
    ];
    if all
        .iter()
        .any(|(kind, _)| credentials.iter().any(|c| c.value() == *kind))
    {
        return None;
    }
    let is_known = |kind: u16, value: &[u8]| match kind {
        // MAPPED-ADDRESS, ERROR-CODE, UNKNOWN-ATTRIBUTES, XOR-MAPPED-ADDRESS, and all that may be ignored.
        0x0001 | 0x0009 | 0x000a | 0x0020 | 0x8000.. => true,
        // CHANGE-REQUEST that asks for no change.
        0x0003 => value.len() == 4 && value[3] & 6 == 0,
        _ => false,
    };
    let unknown: Vec<u16> = all
        .iter()
        .filter(|(kind, value)| !is_known(*kind, value))
        .map(|(kind, _)| *kind)
        .collect();
    match unknown.len() {
        0 => Some(Expected::Answered),
        1..=16 => Some(Expected::Refused(unknown)),
        _ => None,
    }
}

/// Checks every byte of the answer to a `request` from `peer`.
///
/// # Panics
///
/// If the answer is not the expected one.
pub fn check(request: &[u8], peer: SocketAddr, software: bool, answer: Option<&[u8]>) {
    let expected = expected(request);
    let Some(answer) = answer else {
        assert_eq!(expected, Expected::Untouched, "{request:02x?}");
        return;
    };
    assert_ne!(expected, Expected::Untouched, "{request:02x?}");
    let ip = if peer.is_ipv4() { 20 } else { 40 };
    let (asked, answered) = (ip + 8 + request.len(), ip + 8 + answer.len());
    assert!(answered * 10 <= asked * 16, "{answered} bytes to {asked}");

    assert_eq!(
        answer[4..HEADER],
        request[4..HEADER],
        "of another transaction"
    );
    let classic = is_classic(request);
    // The crate knows only RFC 5389 and later. Nothing but XORs, which RFC 3489 has not, depends on the cookie.
    let mut modern = answer.to_vec();
    modern[4..8].copy_from_slice(&COOKIE);
    let message = Message::from_bytes(&modern).expect("a message with a right FINGERPRINT");
    let kinds: Vec<u16> = attributes(&modern)
        .expect("attributes")
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();

    let mapped = if classic { 0x0001 } else { 0x0020 };
    let mut expected_kinds = match expected {
        Expected::Refused(_) => vec![ErrorCode::TYPE.value(), UnknownAttributes::TYPE.value()],
        _ => vec![mapped],
    };
    expected_kinds.extend(software.then_some(Software::TYPE.value()));
    let printed = !classic
        && attributes(request)
            .expect("attributes")
            .iter()
            .any(|(kind, _)| *kind == Fingerprint::TYPE.value());
    expected_kinds.extend(printed.then_some(Fingerprint::TYPE.value()));
    assert_eq!(kinds, expected_kinds);
    assert_eq!(message.method(), BINDING);

    if let Expected::Refused(mut unknown) = expected {
        assert_eq!(message.class(), MessageClass::Error);
        let error = message.attribute::<ErrorCode>().expect("ERROR-CODE");
        assert_eq!(error.code(), 420);
        // RFC 3489 11.2.10: a whole number of words, one of them named twice.
        if classic && unknown.len() % 2 == 1 {
            unknown.extend(unknown.last().copied());
        }
        let named = message
            .raw_attribute(UnknownAttributes::TYPE)
            .expect("UNKNOWN-ATTRIBUTES");
        let named: Vec<u16> = named
            .value
            .chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(named, unknown);
    } else {
        assert_eq!(message.class(), MessageClass::Success);
        let said = if classic {
            let raw = message.raw_attribute(mapped.into());
            MappedSocketAddr::from_raw(&raw.expect("MAPPED-ADDRESS"))
                .expect("an address")
                .addr()
        } else {
            message
                .attribute::<XorMappedAddress>()
                .expect("XOR-MAPPED-ADDRESS")
                .addr(message.transaction_id())
        };
        assert_eq!(said, peer);
    }
    if software {
        let software = message.attribute::<Software>().expect("SOFTWARE");
        assert_eq!(software.software(), "sipnat");
    }
}
