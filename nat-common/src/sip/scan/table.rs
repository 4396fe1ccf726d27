//! The headers that matter, found by name.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bytes::swar::{before, literal};
use crate::sip::direction::Direction;
use crate::sip::method::Method;

/// Bit of lower case, in each byte of a word.
pub(super) const FOLD: u64 = 0x2020_2020_2020_2020;

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

/// Name of a header, long or compact (RFC 3261 7.3.3).
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Name in lower case, or its first eight bytes.
    pub(super) name: u64,
    /// Ones for the bytes of `name`.
    pub(super) mask: u64,
    /// Colon and space that follow the whole name as most devices write it; or nothing that could be there.
    pub(super) colon: u16,
    /// Ones for the bytes of `colon` that matter.
    pub(super) colon_mask: u16,
    /// Bit of the header if a usual message has only one.
    pub(super) single: u16,
    /// Length of the whole name.
    pub(super) len: u8,
    /// Header of this name.
    pub(super) header: Header,
}

/// Headers that matter, each at the [`index`] of its name, also with a byte after a compact name.
pub(super) static HEADERS: [Entry; 64] = {
    const COLON: u16 = u16::from_le_bytes(*b": ");
    const fn entry(name: &[u8], header: Header) -> Entry {
        let head = if name.len() > 8 {
            name.split_at(8).0
        } else {
            name
        };
        let (colon, colon_mask, single) = match header {
            // Nothing about it matters but that it is there.
            Header::Credentials => (0, 0, 0),
            // A message that passed a proxy is not usual.
            Header::RecordRoute => (1, 0, 0),
            _ => (COLON, u16::MAX, header.bit()),
        };
        Entry {
            name: literal(head),
            mask: u64::MAX >> (64 - head.len() * 8),
            colon,
            colon_mask,
            single,
            len: name.len() as u8,
            header,
        }
    }
    let all = [
        entry(b"via", Header::Via),
        entry(b"from", Header::From),
        entry(b"to", Header::To),
        entry(b"call-id", Header::CallId),
        entry(b"cseq", Header::Cseq),
        entry(b"contact", Header::Contact),
        entry(b"expires", Header::Expires),
        entry(b"record-route", Header::RecordRoute),
        entry(b"route", Header::Route),
        entry(b"authorization", Header::Credentials),
        entry(b"proxy-authorization", Header::Credentials),
        entry(b"v", Header::Via),
        entry(b"f", Header::From),
        entry(b"t", Header::To),
        entry(b"i", Header::CallId),
        entry(b"m", Header::Contact),
    ];
    /// Bytes after a compact name: none, a colon, a space, and the end of the line with the bit of lower case.
    const AFTER: [u8; 4] = [0, b':', b' ', b'\r' | 0x20];
    // No name folds to this.
    let mut none = entry(b"\x01", Header::Via);
    none.mask = u64::MAX;
    let mut table = [none; 64];
    let mut i = 0;
    while i < all.len() {
        let name = all[i].name;
        let mut after = 0;
        while after < AFTER.len() && (all[i].len == 1 || after == 0) {
            let index = index(name | (AFTER[after] as u64) << 8);
            assert!(
                table[index].name == none.name,
                "two names have the same index"
            );
            table[index] = all[i];
            after += 1;
        }
        i += 1;
    }
    table
};

/// Returns the index in [`HEADERS`] of a name with these first two bytes. The factor gives each name an index of its own. For
/// another list of names the ignored test `prints_a_factor` finds one.
#[inline(always)]
pub(super) const fn index(name: u64) -> usize {
    ((name as u16 as u32).wrapping_mul(0x3ce0_57da) >> 26) as usize
}

/// Returns the bytes of `w` before the first of `stops`, with the bit of lower case set.
///
/// No other byte passes for a letter: those that become one do not occur in a name, and control characters are stops.
#[inline(always)]
pub(super) const fn folded_name(w: u64, stops: u64) -> u64 {
    before(w | FOLD, stops)
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
    use std::{collections::HashSet, format, println, string::String, vec::Vec};

    /// `cargo test -p nat-common prints_a_factor -- --ignored --nocapture`, with the names of the new list.
    #[test]
    #[ignore = "a tool for a new header, not a test"]
    fn prints_a_factor() {
        let compact = ["v", "f", "t", "i", "m"];
        let after = ["", ":", " ", "-"];
        let names: Vec<u64> = ["via", "from", "to", "call-id", "cseq", "contact", "expires"]
            .into_iter()
            .chain(["record-r", "route", "authoriz", "proxy-au"])
            .map(String::from)
            .chain(
                compact
                    .iter()
                    .flat_map(|name| after.map(|after| format!("{name}{after}"))),
            )
            .map(|name| literal(name.as_bytes()))
            .collect();
        let mut factor = 0x9e37_79b9_u32;
        loop {
            let index = |name: &u64| u32::from(*name as u16).wrapping_mul(factor) >> 26;
            if names.iter().map(index).collect::<HashSet<_>>().len() == names.len() {
                return println!("{factor:#x}");
            }
            factor = factor.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        }
    }
}
