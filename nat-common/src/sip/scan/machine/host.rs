//! The address that a Contact advertises: an IPv4 or IPv6 address and a port.

use super::expect::Expect;
use super::state::Machine;
use crate::bpf::bounded;
use crate::bytes::Source;
use crate::bytes::swar::{byte, hex_digits};
use crate::endpoint::Endpoint;
use crate::sip::field::READ_CONTACTS;
use crate::sip::scan::host::{dotted_quad, port};

impl Machine {
    /// Reads a dotted quad. A host that is no address leaves it unknown.
    #[inline(always)]
    pub(super) fn host<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let is_whole_host = self.host_groups.is_empty();
        if is_whole_host && byte(w, 0) == b'[' {
            return self.go(at + 1, Expect::Ipv6);
        }
        let quad = dotted_quad(source, at);
        let Some((at, quad)) = quad else {
            return self.go(self.after_host, Expect::Params);
        };
        if is_whole_host {
            self.host_address = Endpoint::v4(quad.to_be_bytes(), 0).addr;
            return self.host_end(source, at);
        }
        self.host_groups.add(quad >> 16);
        self.host_groups.add(quad & 0xffff);
        self.ipv6_end(at, byte(source.word(at), 0))
    }

    /// Reads a group of an IPv6 address (RFC 4291 2.2), and the colon or colons after it.
    #[inline(always)]
    pub(super) fn ipv6(&mut self, at: u32, w: u64) -> bool {
        let (n, v) = hex_digits(w);
        let b = byte(w, n);
        if n > 4 || self.host_groups.groups >= 8 {
            return self.go(self.after_host, Expect::Params);
        }
        if b == b'.' {
            return self.go(at, Expect::Host);
        }
        if n > 0 {
            self.host_groups.add(v);
        } else if self.host_groups.lacks_group() {
            // A group must follow a single colon.
            return self.go(self.after_host, Expect::Params);
        }
        if b != b':' {
            return self.ipv6_end(at + n, b);
        }
        if byte(w, n + 1) == b':' {
            if self.host_groups.gap != 0 {
                return self.go(self.after_host, Expect::Params);
            }
            self.host_groups.begin_gap();
            return self.go(at + n + 2, Expect::Ipv6);
        }
        // A single colon must not come first, nor right after `::`.
        let expect = if n == 0 { Expect::Params } else { Expect::Ipv6 };
        self.go(if n == 0 { self.after_host } else { at + n + 1 }, expect)
    }

    /// Reads the bracket `b` that ends an IPv6 address. The address must be whole; `::` stands for at least one group.
    #[inline(always)]
    fn ipv6_end(&mut self, at: u32, b: u8) -> bool {
        if b != b']' || !self.host_groups.is_whole() {
            return self.go(self.after_host, Expect::Params);
        }
        self.host_address = self.host_groups.words();
        self.go(at + 1, Expect::HostEnd)
    }

    /// Reads the port, if there is one.
    #[inline(always)]
    pub(super) fn host_end<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let port = port(source, at);
        if port != 0 {
            self.set_advertised(port);
        }
        self.go(self.after_host, Expect::Params)
    }

    /// Notes the advertised address and port.
    #[inline(always)]
    fn set_advertised(&mut self, port: u32) {
        let index = usize::from(self.message.contacts.wrapping_sub(1));
        let [high, low] = self.host_address;
        if index < READ_CONTACTS {
            let index = bounded::<READ_CONTACTS>(index);
            // SAFETY: the index is in bounds.
            let address = unsafe { self.addresses.get_unchecked_mut(index) };
            address.addr[0] = high;
            address.addr[1] = low;
            address.port = port;
        }
        if index == usize::from(self.message.first_contact) {
            self.message.advertised.addr[0] = high;
            self.message.advertised.addr[1] = low;
            self.message.advertised.port = port;
        }
    }
}
