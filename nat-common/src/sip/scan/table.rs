//! The headers that matter, found by name.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::expect::Expect;
use crate::bytes::swar::{before, literal};
use crate::sip::direction::Direction;
use crate::sip::header;
use crate::sip::method::Method;

/// Header that matters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Header {
    #[default]
    Via = 0,
    From,
    To,
    CallId,
    Cseq,
    Contact,
    Expires,
    RecordRoute,
    Route,
    /// Authorization or Proxy-Authorization.
    Credentials,
}

impl Header {
    /// Returns the bit of this header in a set of headers.
    #[inline(always)]
    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Name of a header, and how to read it.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Name in lower case, or its first eight bytes.
    pub(super) name: u64,
    /// Header of this name.
    pub(super) header: Header,
    /// First element of its value.
    pub(super) value_start: Expect,
    /// Bit in [`header`] for a header that must appear only once, otherwise 0.
    pub(super) once: u8,
}

/// Headers that matter, each at the [`index`] of its name.
pub(super) static HEADERS: [Entry; 16] = {
    const fn entry(name: &[u8], header: Header) -> Entry {
        let (value_start, once) = match header {
            Header::Via => (Expect::Via, 0),
            Header::From => (Expect::Address, header::FROM),
            Header::To => (Expect::Address, header::TO),
            Header::CallId => (Expect::CallId, header::CALL_ID),
            Header::Cseq => (Expect::Number, header::CSEQ),
            Header::Contact | Header::RecordRoute => (Expect::Address, 0),
            Header::Expires => (Expect::Number, header::EXPIRES),
            Header::Route | Header::Credentials => (Expect::Skip, 0),
        };
        Entry {
            name: literal(name),
            header,
            value_start,
            once,
        }
    }
    let all = [
        entry(b"via", Header::Via),
        entry(b"v", Header::Via),
        entry(b"from", Header::From),
        entry(b"f", Header::From),
        entry(b"to", Header::To),
        entry(b"t", Header::To),
        entry(b"call-id", Header::CallId),
        entry(b"i", Header::CallId),
        entry(b"cseq", Header::Cseq),
        entry(b"contact", Header::Contact),
        entry(b"m", Header::Contact),
        entry(b"expires", Header::Expires),
        entry(b"record-r", Header::RecordRoute),
        entry(b"route", Header::Route),
        entry(b"authoriz", Header::Credentials),
        entry(b"proxy-au", Header::Credentials),
    ];
    let mut table = [entry(b"", Header::Via); 16];
    let mut i = 0;
    while i < all.len() {
        let index = index(all[i].name);
        assert!(table[index].name == 0, "two names have the same index");
        table[index] = all[i];
        i += 1;
    }
    table
};

/// Returns the index of a name in [`HEADERS`]. The factor gives each name an index of its own. For another list of names
/// the ignored test `prints_a_factor` finds one.
#[inline(always)]
pub(super) const fn index(name: u64) -> usize {
    (name.wrapping_mul(0xeb3f1520249b752b) >> 60) as usize
}

/// Returns the bytes of `w` before the first of `stops`, with the bit of lower case set.
///
/// No other byte passes for a letter: those that become one do not occur in a name, and control characters are stops.
#[inline(always)]
pub(super) const fn folded_name(w: u64, stops: u64) -> u64 {
    before(w | 0x2020_2020_2020_2020, stops)
}

/// Returns the headers that are not needed in a request, or with `None` in a response.
///
/// - From of a terminal's request is read in the PBX's response, which repeats it. It is needed at once in a REGISTER,
///   which the PBX may send on; in SUBSCRIBE and REFER, because a NOTIFY may precede the response; and in requests that
///   show that the terminal got a tag.
/// - Contact of a PBX's request is the PBX's own. In a response to REGISTER the PBX lists the terminal's Contacts.
#[inline(always)]
pub(super) const fn ignored(needed: Needed, method: Option<Method>) -> u16 {
    match (needed, method) {
        (Needed::In, Some(method)) if method.needs_from() => 0,
        (Needed::In, Some(_)) => Header::From.bit(),
        (Needed::Out, Some(_)) => Header::Contact.bit(),
        _ => 0,
    }
}

/// Headers that a scan needs: a direction, or all, in a form whose all-zero value is valid.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Needed {
    /// All headers, whatever the direction.
    #[default]
    All = 0,
    /// Headers that matter in a message to the PBX.
    In,
    /// Headers that matter in a message from the PBX.
    Out,
}

impl From<Option<Direction>> for Needed {
    #[inline(always)]
    fn from(direction: Option<Direction>) -> Self {
        match direction {
            None => Self::All,
            Some(Direction::In) => Self::In,
            Some(Direction::Out) => Self::Out,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{collections::HashSet, println, vec::Vec};

    /// `cargo test -p nat-common prints_a_factor -- --ignored --nocapture`, with the names of the new list.
    #[test]
    #[ignore = "a tool for a new header, not a test"]
    fn prints_a_factor() {
        let names: Vec<u64> = ["via", "v", "from", "f", "to", "t", "call-id", "i", "cseq"]
            .into_iter()
            .chain(["contact", "m", "expires", "record-r", "route"])
            .chain(["authoriz", "proxy-au"])
            .map(|name| literal(name.as_bytes()))
            .collect();
        let mut factor = 0x9e37_79b9_7f4a_7c15_u64;
        loop {
            let index = |name: &u64| name.wrapping_mul(factor) >> 60;
            if names.iter().map(index).collect::<HashSet<_>>().len() == names.len() {
                return println!("{factor:#x}");
            }
            factor = factor
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1)
                | 1;
        }
    }
}
