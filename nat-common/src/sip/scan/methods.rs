//! Methods, found by name in one comparison: a chain of them costs time, and the verifier walks all that follows for each.

use crate::bytes::swar::{before, below, first, literal};
use crate::sip::method::Method;

/// Name of a method: its first eight bytes, and those after them.
#[derive(Clone, Copy)]
struct Entry {
    name: u64,
    rest: u64,
    method: Method,
}

/// The methods, each at the [`index`] of its name.
static METHODS: [Entry; 16] = {
    let all = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Register,
        Method::Subscribe,
        Method::Notify,
        Method::Refer,
        Method::Update,
        Method::Info,
        Method::Prack,
        Method::Message,
        Method::Options,
        Method::Publish,
    ];
    // No method has this name.
    let none = Entry {
        name: 0,
        rest: 0,
        method: Method::Other,
    };
    let mut table = [none; 16];
    let mut i = 0;
    while i < all.len() {
        let (name, rest) = match all[i].name().as_bytes().split_at_checked(8) {
            Some((name, rest)) => (literal(name), literal(rest)),
            None => (literal(all[i].name().as_bytes()), 0),
        };
        let index = index(name);
        assert!(table[index].name == 0, "two names have the same index");
        table[index] = Entry {
            name,
            rest,
            method: all[i],
        };
        i += 1;
    }
    table
};

/// Returns the index of a name's first eight bytes in [`METHODS`]. The factor is found as that of the headers.
#[inline(always)]
const fn index(name: u64) -> usize {
    (name.wrapping_mul(0x10254060be1116bf) >> 60) as usize
}

/// Returns the method at the start of `w` and `next`, and its length.
///
/// It is case-sensitive (RFC 3261 7.1) and ends with white space. A method that sipnat does not know may have up to 15
/// bytes.
#[inline(always)]
pub(super) fn method(w: u64, next: u64) -> Option<(Method, u32)> {
    let stops = below(w, 0x21);
    let (name, mut rest, mut n) = (before(w, stops), 0, first(stops));
    if n == 8 {
        let stops = below(next, 0x21);
        rest = before(next, stops);
        n += first(stops);
    }
    if n == 0 || n == 16 {
        return None;
    }
    let found = &METHODS[index(name)];
    let method = if found.name == name && found.rest == rest {
        found.method
    } else {
        Method::Other
    };
    Some((method, n))
}
