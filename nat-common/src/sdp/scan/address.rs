//! Addresses: dotted quads, and IPv6 by groups (RFC 4291 2.2).

use super::expect::{Expect, Target, is_end};
use super::state::Scan;
use crate::bytes::swar::{byte, hex_digits, up_to_three_digits};
use crate::bytes::{Source, words};
use crate::endpoint::Endpoint;
use crate::sdp::description::LineFlags;

impl Scan {
    /// Reads a dotted quad.
    #[inline(always)]
    pub(super) fn ipv4<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        // Not a loop: a step must not hold one.
        let quad = octet(source, at, 0)
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad));
        let Some((after, quad)) = quad else {
            return self.unknown_address(at);
        };
        let b = byte(source.word(after), 0);
        if self.address.is_empty() {
            if !is_address_end(b) {
                return self.unknown_address(after);
            }
            let [high, low] = Endpoint::v4(quad.to_be_bytes(), 0).addr;
            return self.set_address(after, high, low);
        }
        self.address.add(quad >> 16);
        self.address.add(quad & 0xffff);
        self.ipv6_end(after, b)
    }

    /// Reads a group of an IPv6 address, and the colon or colons after it.
    #[inline(always)]
    pub(super) fn ipv6<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let (n, v) = hex_digits(w);
        let b = byte(w, n);
        if n > 4 || self.address.groups >= 8 {
            return self.unknown_address(at);
        }
        if b == b'.' {
            if self.address.is_empty() {
                return self.unknown_address(at);
            }
            return self.go(at, Expect::Ipv4);
        }
        if n > 0 {
            self.address.add(v);
        } else if self.address.lacks_group() {
            // A group must follow a single colon.
            return self.unknown_address(at);
        }
        if b != b':' {
            return self.ipv6_end(at + n, b);
        }
        if byte(w, n + 1) == b':' {
            if self.address.gap != 0 {
                return self.unknown_address(at);
            }
            self.address.begin_gap();
            return self.go(at + n + 2, Expect::Ipv6);
        }
        if n == 0 {
            // A single colon must not come first, nor right after `::`.
            return self.unknown_address(at);
        }
        self.go(at + n + 1, Expect::Ipv6)
    }

    /// Ends an IPv6 address at `b`. It must be whole; `::` stands for at least one group.
    #[inline(always)]
    fn ipv6_end(&mut self, at: u32, b: u8) -> bool {
        if !self.address.is_whole() || !is_address_end(b) {
            return self.unknown_address(at);
        }
        let [high, low] = self.address.words();
        let address = Endpoint {
            addr: [high, low],
            port: 0,
            reserved: 0,
        };
        if address.is_v4() || high | low == 0 {
            // IPv4-mapped: a network carries no such packets (RFC 4942 2.2). `::` is no host's.
            return self.unknown_address(at);
        }
        self.set_address(at, high, low)
    }

    /// Notes the address of the line.
    #[inline(always)]
    fn set_address(&mut self, at: u32, high: u64, low: u64) -> bool {
        let target = self.target;
        let level = self.level();
        match target {
            Target::Connection => {
                level.addr[0] = high;
                level.addr[1] = low;
            }
            Target::Rtcp => {
                level.rtcp_addr[0] = high;
                level.rtcp_addr[1] = low;
            }
        }
        self.go(at, Expect::Rest)
    }

    /// Leaves an address that is a name or breaks the grammar.
    #[inline(always)]
    pub(super) fn unknown_address(&mut self, at: u32) -> bool {
        let target = self.target;
        let level = self.level();
        match target {
            // An earlier one does not hold either.
            Target::Connection => words::clear(&mut level.addr),
            Target::Rtcp => level.flags |= LineFlags::RTCP_ELSEWHERE.bits(),
        }
        self.go(at, Expect::Rest)
    }
}

/// Whether `b` may follow an address: the end of a value, or a number of hops or addresses (RFC 8866 5.7).
#[inline(always)]
const fn is_address_end(b: u8) -> bool {
    b == b'/' || is_end(b)
}

/// Reads an octet of a dotted quad and appends it to `quad`. Returns the position after it, and the new `quad`. Octets with
/// leading zeros are octal for some parsers.
#[inline(always)]
fn octet<S: Source + ?Sized>(source: &S, at: u32, quad: u32) -> Option<(u32, u32)> {
    let w = source.word(at);
    let (n, v) = up_to_three_digits(w);
    let is_octet = n > 0 && v < 256 && !(n > 1 && byte(w, 0) == b'0');
    is_octet.then_some((at + n, quad << 8 | v))
}

/// Reads a dot. Returns the position after it.
#[inline(always)]
fn dot<S: Source + ?Sized>(source: &S, at: u32) -> Option<u32> {
    (byte(source.word(at), 0) == b'.').then_some(at + 1)
}
