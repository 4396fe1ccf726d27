//! Prefixes of addresses as `POLICY` keys them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use nat_common::endpoint::mapped;

/// Bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_BITS: u8 = 96;

/// The addresses that a rule of the policy applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// Every address that no other rule names.
    Default,
    /// The addresses of one network.
    Net(IpNet),
}

impl Prefix {
    /// Returns the network of `bits` that `addr` is in.
    #[must_use]
    pub fn of(addr: IpAddr, bits: u8) -> Option<Self> {
        IpNet::new(addr, bits)
            .ok()
            .map(|net| Self::Net(net.trunc()))
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        match (self, other) {
            (Self::Default, _) => true,
            (Self::Net(_), Self::Default) => false,
            (Self::Net(net), Self::Net(other)) => net.contains(&other),
        }
    }

    /// Returns the key in `POLICY`.
    #[must_use]
    pub fn key(self) -> Key<[u8; 16]> {
        match self {
            Self::Default => Key::new(0, [0; 16]),
            Self::Net(net) => {
                let before = if net.addr().is_ipv4() { MAPPED_BITS } else { 0 };
                Key::new((before + net.prefix_len()).into(), mapped(net.network()))
            }
        }
    }
}

impl From<Key<[u8; 16]>> for Prefix {
    fn from(key: Key<[u8; 16]>) -> Self {
        let bits = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
        let addr = Ipv6Addr::from(key.data());
        let net = match (addr.to_ipv4_mapped(), bits.checked_sub(MAPPED_BITS)) {
            (Some(v4), Some(bits)) => Self::of(v4.into(), bits),
            _ if bits == 0 => None,
            _ => Self::of(addr.into(), bits),
        };
        net.unwrap_or(Self::Default)
    }
}

/// Error of a text that is no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither an address, nor a prefix such as 10.0.0.0/8, nor the word `default`")]
pub struct NotAPrefix;

impl FromStr for Prefix {
    type Err = NotAPrefix;

    /// Parses `default`, a network (bits beyond its length are ignored), or one address.
    fn from_str(s: &str) -> Result<Self, NotAPrefix> {
        if s.eq_ignore_ascii_case("default") {
            return Ok(Self::Default);
        }
        let net = match s.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => IpNet::from(s.parse::<IpAddr>().map_err(|_| NotAPrefix)?),
        };
        match net.trunc() {
            // It has the same key as the default.
            IpNet::V6(all) if all.prefix_len() == 0 => Ok(Self::Default),
            net => Ok(Self::Net(net)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Net(net) => f.pad(&net.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Prefix {
        s.parse().unwrap()
    }

    #[test]
    fn text_and_key_agree() {
        for (text, bits, shown) in [
            ("default", 0, "default"),
            ("::/0", 0, "default"),
            ("0.0.0.0/0", 96, "0.0.0.0/0"),
            ("10.0.0.0/8", 104, "10.0.0.0/8"),
            ("10.1.2.3/8", 104, "10.0.0.0/8"),
            ("60.17.196.2", 128, "60.17.196.2/32"),
            ("2001:db8::/32", 32, "2001:db8::/32"),
            ("2001:db8::1", 128, "2001:db8::1/128"),
        ] {
            let prefix = parse(text);
            let key = prefix.key();
            assert_eq!(key.prefix_len(), bits, "{text}");
            assert_eq!(Prefix::from(key), prefix, "{text}");
            assert_eq!(prefix.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn ipv4_is_kept_mapped() {
        let key = parse("60.17.196.0/24").key();
        assert_eq!(
            key.data(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 60, 17, 196, 0]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "eth0",
            "10.0.0.1:5060",
            "::/129",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(NotAPrefix), "{text}");
        }
    }
}
