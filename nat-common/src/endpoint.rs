//! An address and a UDP port, in the form that maps and registers hold.

#[cfg(feature = "user")]
use core::array;
#[cfg(feature = "user")]
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bytes::words::Words;

/// An address and a UDP port. IPv4 is kept IPv4-mapped (RFC 4291 2.5.5.2), so one key serves both.
///
/// Words, not bytes: BPF's compiler copies and compares only aligned words without calling a function.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Endpoint {
    /// The address, its 16 bytes in network byte order.
    pub addr: [u64; 2],
    /// The port, host byte order.
    pub port: u32,
    /// Unused, zero.
    pub reserved: u32,
}

impl PartialEq for Endpoint {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.addr[1] == other.addr[1] && self.port == other.port && self.addr[0] == other.addr[0]
    }
}

impl Endpoint {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        addr: [0; 2],
        port: 0,
        reserved: 0,
    };

    /// An endpoint at an IPv4 address, given in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(addr: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = addr;
        Self {
            addr: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])],
            port: port as u32,
            reserved: 0,
        }
    }

    /// The IPv4 address of an IPv4-mapped endpoint, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn as_v4(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.addr[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// Whether it is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        const PREFIX: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let [a, b, c, d, ..] = self.addr[1].to_ne_bytes();
        self.addr[0] == 0 && u32::from_ne_bytes([a, b, c, d]) == PREFIX
    }

    /// An address that is not routed on the Internet: RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 2.5.6.
    #[inline(always)]
    #[must_use]
    pub const fn is_private(&self) -> bool {
        if !self.is_v4() {
            let [a, b, ..] = self.addr[0].to_ne_bytes();
            let first = u16::from_be_bytes([a, b]);
            return first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80;
        }
        let address = u32::from_be_bytes(self.as_v4());
        address >> 24 == 10
            || address >> 20 == 0xac1
            || address >> 16 == 0xc0a8
            || address >> 22 == 0x6440 >> 6
            || address >> 16 == 0xa9fe
    }

    /// Nothing is known of it.
    #[inline(always)]
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.port == 0
    }
}

#[cfg(feature = "user")]
impl From<Endpoint> for SocketAddr {
    fn from(e: Endpoint) -> Self {
        let [high, low] = e.addr.map(u64::to_ne_bytes);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        Self::new(Ipv6Addr::from(bytes).to_canonical(), e.port as u16)
    }
}

#[cfg(feature = "user")]
impl From<SocketAddr> for Endpoint {
    fn from(a: SocketAddr) -> Self {
        let bytes = mapped(a.ip());
        let word = |at: usize| u64::from_ne_bytes(array::from_fn(|i| bytes[at + i]));
        Self {
            addr: [word(0), word(8)],
            port: u32::from(a.port()),
            reserved: 0,
        }
    }
}

/// The bytes of an address as `POLICY` and [`Endpoint`] keep it: IPv4 becomes IPv4-mapped.
#[cfg(feature = "user")]
#[must_use]
pub fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

const _: () = assert!(size_of::<Endpoint>() == 24);

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Endpoint {}
