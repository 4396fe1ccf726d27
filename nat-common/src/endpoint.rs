//! IP address and UDP port in one form for IPv4 and IPv6, for map keys and for registers.
//!
//! ```
//! use nat_common::endpoint::Endpoint;
//!
//! let phone = Endpoint::v4([192, 168, 1, 10], 5060);
//! assert!(phone.is_v4() && phone.is_private());
//! assert_eq!((phone.as_v4(), phone.port), ([192, 168, 1, 10], 5060));
//! assert!(Endpoint::UNKNOWN.is_unknown());
//! ```

#[cfg(feature = "user")]
use core::array;
#[cfg(feature = "user")]
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Network in which an address has its meaning.
#[repr(u8)]
#[derive(Clone, Copy)]
enum Network {
    Internet = 0,
    /// This host, this link, a translation, a benchmark: RFC 1122 3.2.1.3, RFC 3927, RFC 7335, RFC 2544.
    Nowhere,
    /// RFC 1918.
    Ten,
    OneSevenTwo,
    OneNineTwo,
    /// RFC 6598.
    Shared,
    /// RFC 4193.
    UniqueLocal,
}

impl Network {
    /// Least number of a network that an organisation uses for itself.
    const FIRST_OWN: u8 = Self::Ten as u8;
}

/// IP address and UDP port. An IPv4 address is IPv4-mapped (RFC 4291 2.5.5.2), so that one key serves both families.
///
/// It holds words, not bytes: the BPF compiler calls a function to copy or compare anything but aligned words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Endpoint {
    /// The 16 bytes of the address, in network byte order.
    pub addr: [u64; 2],
    /// The port, in host byte order.
    pub port: u32,
    /// Padding, zero.
    pub reserved: u32,
}

impl PartialEq for Endpoint {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.addr[1] == other.addr[1] && self.port == other.port && self.addr[0] == other.addr[0]
    }
}

impl Endpoint {
    /// The unknown endpoint: all zero.
    pub const UNKNOWN: Self = Self {
        addr: [0; 2],
        port: 0,
        reserved: 0,
    };

    /// Makes an endpoint of an IPv4 address in network byte order.
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

    /// Returns the IPv4 address in network byte order. The endpoint must be [IPv4](Self::is_v4).
    #[inline(always)]
    #[must_use]
    pub const fn as_v4(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.addr[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// Whether the address is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        const PREFIX: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let [a, b, c, d, ..] = self.addr[1].to_ne_bytes();
        self.addr[0] == 0 && u32::from_ne_bytes([a, b, c, d]) == PREFIX
    }

    /// Whether the Internet does not route the address: RFC 6890, RFC 4193, RFC 4291 2.5.6. Documentation prefixes count as
    /// routed.
    #[inline(always)]
    #[must_use]
    pub const fn is_private(&self) -> bool {
        !matches!(self.network(), Network::Internet)
    }

    /// Whether both lie in networks that one organisation may use for itself: those of RFC 1918, or the same one of another
    /// kind. Then one may reach the other.
    #[inline(always)]
    #[must_use]
    pub const fn shares_private_network(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.network() as u8, other.network() as u8);
        let last_of_rfc1918 = Network::OneNineTwo as u8;
        (ours == theirs || ours <= last_of_rfc1918 && theirs <= last_of_rfc1918)
            && ours >= Network::FIRST_OWN
            && theirs >= Network::FIRST_OWN
    }

    #[inline(always)]
    const fn network(&self) -> Network {
        if !self.is_v4() {
            let [a, b, ..] = self.addr[0].to_ne_bytes();
            let first = u16::from_be_bytes([a, b]);
            return if first & 0xfe00 == 0xfc00 {
                Network::UniqueLocal
            } else if first & 0xffc0 == 0xfe80 || self.addr[0] == 0 {
                Network::Nowhere
            } else {
                Network::Internet
            };
        }
        let address = u32::from_be_bytes(self.as_v4());
        if address >> 24 == 10 {
            Network::Ten
        } else if address >> 20 == 0xac1 {
            Network::OneSevenTwo
        } else if address >> 16 == 0xc0a8 {
            Network::OneNineTwo
        } else if address >> 22 == 0x6440 >> 6 {
            Network::Shared
        } else if address >> 24 == 0
            || address >> 24 == 127
            || address >> 16 == 0xa9fe
            || address >> 8 == 0x00c0_0000
            || address >> 17 == 0xc612 >> 1
        {
            Network::Nowhere
        } else {
            Network::Internet
        }
    }

    /// Whether a host may send from it: not port 0, and not unspecified, loopback or multicast (RFC 1122 3.2.1.3, RFC
    /// 4291 2.4).
    #[inline(always)]
    #[must_use]
    pub const fn is_unicast(&self) -> bool {
        if self.port == 0 {
            return false;
        }
        if self.is_v4() {
            let first = self.as_v4()[0];
            return first != 0 && first != 127 && first < 224;
        }
        let multicast = self.addr[0] as u8 == 0xff;
        // `::`, `::1` and the like.
        let reserved = self.addr[0] == 0;
        !multicast && !reserved
    }

    /// Whether the endpoint is unknown.
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

/// Returns the 16 bytes of an address as [`Endpoint`] and the map `POLICY` hold it: IPv4 becomes IPv4-mapped.
#[cfg(feature = "user")]
#[must_use]
pub fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks() {
        let v4 = |addr| Endpoint::v4(addr, 5060);
        for (addr, private) in [
            ([0, 0, 0, 0], true),
            ([9, 255, 255, 255], false),
            ([10, 0, 0, 0], true),
            ([11, 0, 0, 0], false),
            ([100, 63, 255, 255], false),
            ([100, 64, 0, 0], true),
            ([100, 127, 255, 255], true),
            ([100, 128, 0, 0], false),
            ([127, 0, 0, 1], true),
            ([169, 254, 0, 1], true),
            ([172, 15, 255, 255], false),
            ([172, 16, 0, 0], true),
            ([172, 31, 255, 255], true),
            ([172, 32, 0, 0], false),
            ([192, 0, 0, 4], true),
            ([192, 0, 1, 0], false),
            ([192, 168, 0, 0], true),
            ([192, 169, 0, 0], false),
            ([198, 17, 255, 255], false),
            ([198, 18, 0, 0], true),
            ([198, 19, 255, 255], true),
            ([198, 20, 0, 0], false),
        ] {
            assert_eq!(v4(addr).is_private(), private, "{addr:?}");
        }
        let v6 = |high: u64, low: u64| Endpoint {
            addr: [high.to_be(), low.to_be()],
            port: 5060,
            reserved: 0,
        };
        for (high, private) in [
            (0x2001_0db8_0000_0000, false),
            (0xfbff_0000_0000_0000, false),
            (0xfc00_0000_0000_0000, true),
            (0xfdff_0000_0000_0000, true),
            (0xfe80_0000_0000_0000, true),
            (0, true),
        ] {
            assert_eq!(v6(high, 1).is_private(), private, "{high:x}");
        }
        assert!(v4([10, 1, 2, 3]).shares_private_network(&v4([10, 9, 9, 9])));
        assert!(v4([10, 1, 2, 3]).shares_private_network(&v4([192, 168, 1, 1])));
        assert!(v4([172, 16, 2, 3]).shares_private_network(&v4([10, 168, 1, 1])));
        assert!(v4([100, 64, 2, 3]).shares_private_network(&v4([100, 65, 1, 1])));
        assert!(!v4([100, 64, 2, 3]).shares_private_network(&v4([192, 168, 1, 1])));
        assert!(!v4([10, 1, 2, 3]).shares_private_network(&v4([100, 64, 1, 1])));
        assert!(!v4([10, 1, 2, 3]).shares_private_network(&v4([127, 0, 0, 1])));
        assert!(!v4([127, 0, 0, 1]).shares_private_network(&v4([10, 1, 2, 3])));
        assert!(!v4([10, 1, 2, 3]).shares_private_network(&v4([8, 8, 4, 4])));
        assert!(!v4([169, 254, 1, 1]).shares_private_network(&v4([169, 254, 1, 2])));
        assert!(!v4([8, 8, 8, 8]).shares_private_network(&v4([8, 8, 4, 4])));
    }

    #[test]
    fn unicast_sources() {
        for (addr, unicast) in [
            ([192, 0, 2, 1], true),
            ([1, 0, 0, 1], true),
            ([126, 0, 0, 1], true),
            ([128, 0, 0, 1], true),
            ([223, 255, 255, 255], true),
            ([0, 0, 0, 0], false),
            ([0, 1, 2, 3], false),
            ([127, 0, 0, 1], false),
            ([224, 0, 0, 1], false),
            ([255, 255, 255, 255], false),
        ] {
            assert_eq!(Endpoint::v4(addr, 5060).is_unicast(), unicast, "{addr:?}");
            assert!(!Endpoint::v4(addr, 0).is_unicast(), "{addr:?}");
        }
        let v6 = |high: u64, low: u64| Endpoint {
            addr: [high.to_be(), low.to_be()],
            port: 5060,
            reserved: 0,
        };
        assert!(v6(0x2001_0db8_0000_0000, 1).is_unicast());
        assert!(v6(0xfe80_0000_0000_0000, 1).is_unicast());
        for (high, low) in [(0, 0), (0, 1), (0xff02_0000_0000_0000, 1)] {
            assert!(!v6(high, low).is_unicast(), "{high:x} {low:x}");
        }
    }
}
