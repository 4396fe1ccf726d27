//! Hashes of the parts that name a message.

use crate::abi::DialogKey;
use crate::bytes::{Source, hosts, swar};
use crate::endpoint::Endpoint;
use crate::engine::env::{Hashes, Text};
use crate::sip::{CONTACTS, Direction, Field, Message, Method, header};
use crate::tables::key::{self, OfRegister};
use crate::tables::slots::SlotKey;

/// Hashes all parts that are looked up or stored, but for those of a contact, which few messages need. Returns the hash
/// of the Call-ID, joined with the PBX's socket.
#[inline(always)]
pub(super) fn identify<E: Text>(env: &E, m: &Message, direction: Direction) -> u64 {
    let request = m.status == 0;
    let tags = Field::FromTag.bit() | Field::ToTag.bit();
    // A part that is not hashed here keeps the hash of another message, and must not be asked for.
    let more = match (direction, request) {
        (Direction::In, true) if m.method == Method::Register => {
            Field::Contact.bit() << m.first_contact | tags
        }
        (Direction::Out, false) if m.method == Method::Register => {
            Field::FromTag.bit() | Field::ToUri.bit() | CONTACTS
        }
        (_, false) => tags,
        _ if m.has(Field::ToTag) => tags,
        // A pending dialog end, or a REGISTER that the PBX sends on.
        _ if m.method.subscribes() || m.method == Method::Register => Field::FromTag.bit(),
        _ => 0,
    };
    env.digest(m, Field::CallId.bit() | Field::Branch.bit() | more);
    env.hash(Field::CallId as usize) ^ env.pbx()
}

/// Calls [`Text::digest`] in a function of its own: what comes after it needs most of the stack.
#[inline(never)]
pub(super) fn digest<E: Text>(env: &E, m: &Message, parts: u32) {
    env.digest(m, parts);
}

/// Returns the key of the dialog end whose own tag is that of a field, and whose other tag is that of the other field.
#[inline(always)]
pub(super) fn dialog_key<E: Hashes>(env: &E, call: u64, own: Field) -> DialogKey {
    let other = match own {
        Field::FromTag => Field::ToTag,
        _ => Field::FromTag,
    };
    DialogKey {
        call,
        tag: key::tags(env.hash(own as usize), env.hash(other as usize)),
    }
}

/// Returns the hash of a part that is a URI, joined with the PBX's socket; 0 if it is absent.
#[inline(always)]
pub(super) fn uri_hash<E: Hashes>(env: &E, part: usize) -> u64 {
    match env.hash(part) {
        0 => 0,
        hash => hash ^ env.pbx(),
    }
}

/// Returns the key of a fact of a REGISTER that holds on every socket of the PBX: it may send the REGISTER on from another one.
#[inline(always)]
pub(super) fn registration_key<E: Hashes>(env: &E, cseq: u32, fact: OfRegister) -> SlotKey {
    let call = env.hash(Field::CallId as usize);
    key::registration(call, env.hash(Field::FromTag as usize), cseq, fact)
}

/// Whether a REGISTER is for the domain of its address-of-record (RFC 3261 10.3, 5), or for the PBX by its IPv4 address, and
/// nothing in it leads elsewhere. A proxy relays any other: for another domain, to another port or `maddr`, or along its
/// Route. A Route that only names the PBX, as that of an outbound proxy, leads nowhere.
#[inline(always)]
pub(super) fn is_for_its_domain<E: Text>(env: &E, m: &Message) -> bool {
    env.names_domain(m, Field::RequestUri)
        && (m.headers & header::ROUTE == 0
            || m.has(Field::Route) && env.names_domain(m, Field::Route))
}

/// Returns the position of the Request-URI or of the URI in a Route, after its scheme; 0 for a Route that does not begin so.
#[inline(always)]
pub fn uri_of<S: Source + ?Sized>(text: &S, m: &Message, field: Field) -> u32 {
    let at = u32::from(m.span(field).start);
    if !matches!(field, Field::Route) {
        return at;
    }
    let w = text.word(at);
    let blank = u32::from(swar::byte(w, 1) == b' ');
    if swar::byte(w, 0) != b':' || !swar::starts_with(w >> (8 + 8 * blank), b"<sip:") {
        return 0;
    }
    at + 6 + blank
}

/// Whether a URI of a REGISTER, the Request-URI or that in a Route, names the domain of To, or the PBX, `ours`, by its
/// IPv4 address, and no other host, port or user beside (RFC 3261 10.2). `uri` is its [`uri_of`], `end` its
/// [`hosts::plain_end`], and `domain` the position of the host of To.
#[inline(always)]
pub fn names_domain<S: Source + ?Sized>(
    text: &S,
    field: Field,
    uri: u32,
    end: u32,
    domain: u32,
    ours: &Endpoint,
) -> bool {
    let named =
        hosts::same(text, uri, domain) || ours.is_v4() && hosts::is_v4(text, uri, ours.as_v4());
    if !named || end == 0 {
        return false;
    }
    if matches!(field, Field::Route) {
        is_only_route(text, end)
    } else {
        swar::byte(text.word(end), 0) == b' '
    }
}

/// Whether the only Route of a request names the host of the Request-URI, and the port to which the request is sent: then it
/// leads to no other hop. `route` and `request` are the positions of the two hosts, `end` is the [`hosts::plain_end`] of the
/// Route.
#[inline(always)]
pub fn leads_to_target<S: Source + ?Sized>(text: &S, route: u32, end: u32, request: u32) -> bool {
    end != 0 && hosts::same(text, route, request) && is_only_route(text, end)
}

/// Whether the URI of a Route that ends at `end` has no other after it, in this line or in the next one.
#[inline(always)]
fn is_only_route<S: Source + ?Sized>(text: &S, end: u32) -> bool {
    let w = text.word(end);
    swar::head(w, 3) == swar::literal(b">\r\n") && !matches!(swar::byte(w, 3), b' ' | b'\t')
}
