//! Settings of `sipnat run`.
//!
//! Each setting has one field here, one flag in `commands/run.rs`, and the place that uses it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use ipnet::{IpNet, Ipv6Net};
use nat_common::abi::Policy;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Interfaces on which the PBX meets its terminals.
    pub interfaces: Vec<String>,
    /// UDP ports of the PBX.
    pub ports: Vec<u16>,
    /// Policy for terminals that no other rule names.
    #[serde(with = "policy")]
    pub policy: Policy,
    /// Registrars to which the PBX sends REGISTERs on.
    #[serde(with = "networks")]
    pub registrars: Vec<IpNet>,
    /// Trunks, providers and other PBXs.
    #[serde(with = "networks")]
    pub peers: Vec<IpNet>,
    /// Seconds after the start for which a Contact URI alone proves less: its owner may not have registered again yet.
    pub settle: u32,
    /// Learn, decide and count, but redirect nothing.
    pub shadow: bool,
    /// Answers to STUN requests.
    pub stun: Stun,
    /// Leave the programs in place when the agent ends.
    pub keep: bool,
    /// File with the kernel programs, instead of those in this binary.
    pub object: Option<PathBuf>,
    /// Have the verifier report how it came to refuse a program. That may be a hundred megabytes.
    pub verifier_log: bool,
    /// Mode of the XDP program.
    pub xdp: Xdp,
    /// Attach to the clsact qdisc even where the kernel has tcx.
    pub clsact: bool,
    /// Sizes of the tables.
    pub sizes: Sizes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            ports: vec![5060],
            policy: Policy::Auto,
            registrars: Vec::new(),
            peers: Vec::new(),
            settle: 3600,
            shadow: false,
            stun: Stun::default(),
            keep: false,
            object: None,
            verifier_log: false,
            xdp: Xdp::Auto,
            clsact: false,
            sizes: Sizes::default(),
        }
    }
}

impl Settings {
    /// Removes ports that are named more than once.
    pub fn remove_repeated_ports(&mut self) {
        let mut seen = Vec::new();
        self.ports.retain(|port| {
            let is_new = !seen.contains(port);
            seen.push(*port);
            is_new
        });
    }
}

/// Answers to STUN requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stun {
    /// Answer STUN Binding requests, on the SIP ports and on `port`.
    pub answer: bool,
    /// UDP port on which STUN is answered beside the SIP ports; 0: none.
    pub port: u16,
    /// Answers to one address in a second; 0: no limit.
    pub rate: u32,
    /// Answers to one address at once; at least 1.
    pub burst: u32,
    /// Answers to all addresses together in a second; 0: no limit.
    pub total_rate: u32,
    /// Name the software in answers.
    pub software: bool,
}

impl Default for Stun {
    fn default() -> Self {
        Self {
            answer: false,
            port: 3478,
            rate: 20,
            burst: 50,
            total_rate: 20_000,
            software: false,
        }
    }
}

/// Choice of the mode in which the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// Native where the driver can, else generic.
    #[default]
    #[value(help = None)]
    Auto,
    /// By the driver.
    #[value(help = None)]
    Native,
    /// By the network stack.
    #[value(help = None)]
    Generic,
}

/// Sizes of the tables. All but `bindings` are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sizes {
    /// Sets in `INBOUND` and in `OUTBOUND`.
    pub transactions: u32,
    /// Sets in `PENDING`.
    pub pending: u32,
    /// Sets in `PEERS`.
    pub peers: u32,
    /// Sets in `FRAGMENTS`.
    pub fragments: u32,
    /// Records in `HISTORY`.
    pub history: u32,
    /// Lines in `BUCKETS`. Without STUN there is one.
    pub buckets: u32,
    /// Sets in `STUN`. Without STUN there is one.
    pub stun: u32,
    /// Entries in `DIALOGS` and in `CONTACTS`. The kernel takes their memory only as they fill.
    pub bindings: u32,
}

impl Default for Sizes {
    /// 64k transactions in each direction last 32 s at 2000 messages a second.
    fn default() -> Self {
        Self {
            transactions: 16384,
            pending: 4096,
            peers: 4096,
            fragments: 1024,
            history: 65_536,
            buckets: 8192,
            stun: 4096,
            bindings: 262_144,
        }
    }
}

/// Returns the policy of that name.
///
/// # Errors
/// If there is none.
pub fn policy_named(name: &str) -> Result<Policy, &'static str> {
    [Policy::Auto, Policy::Force, Policy::Off]
        .into_iter()
        .find(|policy| policy.name() == name)
        .ok_or("a policy is auto, force or off")
}

/// Returns the hosts that a text names: one address, or a prefix such as `10.0.0.0/8`.
///
/// # Errors
/// If it names none, or all.
pub fn hosts(text: &str) -> Result<IpNet, &'static str> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => text
            .parse::<IpAddr>()
            .map(IpNet::from)
            .map_err(|_| "name an address, or a prefix such as 10.0.0.0/8, without a port")?,
    };
    if net.prefix_len() == 0 {
        return Err("that names every host; name those that are meant");
    }
    // Maps hold IPv4 addresses in this prefix.
    let mapped = Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96).into();
    if net.contains(&mapped) || IpNet::contains(&mapped, &net) {
        return Err("write an IPv4 address as such, like 192.0.2.1");
    }
    Ok(net)
}

/// A policy by its name.
mod policy {
    use nat_common::abi::Policy;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(policy: &Policy, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(policy.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
        let name = String::deserialize(from)?;
        super::policy_named(&name).map_err(D::Error::custom)
    }
}

/// Networks as text, since `IpNet` has no serde of its own here.
mod networks {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(networks: &[IpNet], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(networks.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
        let networks = Vec::<String>::deserialize(from)?;
        networks
            .iter()
            .map(|text| super::hosts(text).map_err(D::Error::custom))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_left_out_has_its_default() {
        let settings = Settings {
            policy: Policy::Force,
            registrars: vec![hosts("192.0.2.1").unwrap()],
            peers: vec![hosts("10.1.2.3/8").unwrap(), hosts("fd00::/8").unwrap()],
            xdp: Xdp::Generic,
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        for part in [
            r#""policy":"force""#,
            r#""xdp":"generic""#,
            r#""registrars":["192.0.2.1/32"]"#,
            r#""peers":["10.0.0.0/8","fd00::/8"]"#,
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        let read = |text| serde_json::from_str::<Settings>(text);
        assert_eq!(read("{}").unwrap(), Settings::default());
        let stun = read(r#"{"stun": {"answer": true}}"#).unwrap().stun;
        let expected = Stun {
            answer: true,
            ..Stun::default()
        };
        assert_eq!(stun, expected);
    }

    #[test]
    fn unknown_names_are_refused() {
        for (text, word) in [
            (r#"{"prots": [5060]}"#, "prots"),
            (r#"{"stun": {"rates": 1}}"#, "rates"),
            (r#"{"sizes": {"dialogs": 1}}"#, "dialogs"),
            (r#"{"policy": "never"}"#, "auto, force or off"),
            (r#"{"peers": ["default"]}"#, "name an address"),
        ] {
            let error = serde_json::from_str::<Settings>(text).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn hosts_are_some_but_not_all() {
        for (text, word) in [
            ("", "name an address"),
            ("default", "name an address"),
            ("pbx.example.com", "name an address"),
            ("192.0.2.1:5060", "without a port"),
            ("10.0.0.0/33", "such as 10.0.0.0/8"),
            ("0.0.0.0/0", "every host"),
            ("::/0", "every host"),
            ("::/64", "IPv4"),
            ("::ffff:10.0.0.0/104", "IPv4"),
        ] {
            let error = hosts(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(hosts("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
    }
}
