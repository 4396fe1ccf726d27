//! The address that the first Contact advertises: an IPv4 or IPv6 address and a port.

use super::expect::Expect;
use super::grammar::is_host_end;
use super::state::Scan;
use crate::bytes::Source;
use crate::bytes::hosts::DEFAULT_PORT;
use crate::bytes::swar::{byte, digits, hex_digits};
use crate::endpoint::Endpoint;

impl Scan {
    /// Reads a dotted quad. A host that is no address leaves `advertised` unknown.
    #[inline(always)]
    pub(super) fn host<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let is_whole_host = self.groups == 0 && self.gap == 0;
        if is_whole_host && byte(w, 0) == b'[' {
            return self.go(at + 1, Expect::Ipv6);
        }
        // Not a loop: a step must not hold one.
        let quad = octet(source, at, 0)
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad));
        let Some((at, quad)) = quad else {
            return self.go(self.after_host, Expect::Params);
        };
        let w = source.word(at);
        if is_whole_host {
            self.host_address = Endpoint::v4(quad.to_be_bytes(), 0).addr;
            return self.host_end(source, at, w);
        }
        self.add_group(quad >> 16);
        self.add_group(quad & 0xffff);
        self.ipv6_end(at, byte(w, 0))
    }

    /// Reads a group of an IPv6 address (RFC 4291 2.2), and the colon or colons after it.
    #[inline(always)]
    pub(super) fn ipv6(&mut self, at: u32, w: u64) -> bool {
        let (n, v) = hex_digits(w);
        let b = byte(w, n);
        if n > 4 || self.groups >= 8 {
            return self.go(self.after_host, Expect::Params);
        }
        if b == b'.' {
            return self.go(at, Expect::Host);
        }
        if n > 0 {
            self.add_group(v);
        } else if self.gap == 0 && self.groups > 0 || self.gap > 0 && self.gap <= self.groups {
            // A group must follow a single colon.
            return self.go(self.after_host, Expect::Params);
        }
        if b != b':' {
            return self.ipv6_end(at + n, b);
        }
        if byte(w, n + 1) == b':' {
            if self.gap != 0 {
                return self.go(self.after_host, Expect::Params);
            }
            self.gap = self.groups.wrapping_add(1);
            return self.go(at + n + 2, Expect::Ipv6);
        }
        // A single colon must not come first, nor right after `::`.
        let expect = if n == 0 { Expect::Params } else { Expect::Ipv6 };
        self.go(if n == 0 { self.after_host } else { at + n + 1 }, expect)
    }

    /// Adds a group: before `::` by its number, after `::` at the end.
    #[inline(always)]
    fn add_group(&mut self, group: u32) {
        if self.gap == 0 {
            let group = u64::from(group) << (48 - 16 * u32::from(self.groups & 3));
            if self.groups < 4 {
                self.host_address[0] |= group.to_be();
            } else {
                self.host_address[1] |= group.to_be();
            }
        } else {
            self.host_suffix[0] = self.host_suffix[0] << 16 | self.host_suffix[1] >> 48;
            self.host_suffix[1] = self.host_suffix[1] << 16 | u64::from(group);
        }
        self.groups = self.groups.wrapping_add(1);
    }

    /// Reads the bracket `b` that ends an IPv6 address. The address must be whole; `::` stands for at least one group.
    #[inline(always)]
    fn ipv6_end(&mut self, at: u32, b: u8) -> bool {
        let is_whole = if self.gap == 0 {
            self.groups == 8
        } else {
            self.groups < 8
        };
        if b != b']' || !is_whole {
            return self.go(self.after_host, Expect::Params);
        }
        self.host_address[0] |= self.host_suffix[0].to_be();
        self.host_address[1] |= self.host_suffix[1].to_be();
        self.go(at + 1, Expect::HostEnd)
    }

    /// Reads the port, if there is one.
    #[inline(always)]
    pub(super) fn host_end<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        if byte(w, 0) == b':' {
            let w = source.word(at + 1);
            let (n, v) = digits(w);
            if n > 0 && n < 6 && v > 0 && v <= 0xffff && is_host_end(byte(w, n)) {
                self.set_advertised(v);
            }
        } else if is_host_end(byte(w, 0)) {
            self.set_advertised(DEFAULT_PORT);
        }
        self.go(self.after_host, Expect::Params)
    }

    /// Notes the advertised address and port.
    #[inline(always)]
    fn set_advertised(&mut self, port: u32) {
        self.message.advertised.addr[0] = self.host_address[0];
        self.message.advertised.addr[1] = self.host_address[1];
        self.message.advertised.port = port;
    }
}

/// Reads an octet of a dotted quad and appends it to `quad`. Returns the position after it, and the new `quad`.
#[inline(always)]
fn octet<S: Source + ?Sized>(source: &S, at: u32, quad: u32) -> Option<(u32, u32)> {
    let (n, v) = digits(source.word(at));
    let is_octet = n > 0 && n < 4 && v < 256;
    is_octet.then_some((at + n, quad << 8 | v))
}

/// Reads a dot. Returns the position after it.
#[inline(always)]
fn dot<S: Source + ?Sized>(source: &S, at: u32) -> Option<u32> {
    (byte(source.word(at), 0) == b'.').then_some(at + 1)
}
