//! Programs of media, which those of SIP enter by tail calls, and the settings of media.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::{ProgramInfo, SchedClassifier, Xdp},
};
use ipnet::IpNet;
use nat_common::{
    abi::{
        MEDIA_ADDRESSES, MEDIA_EXTERNALS, MEDIA_FORWARDING, MEDIA_PORTS, MediaConfig, MediaPrefix,
        address,
    },
    endpoint::Endpoint,
};

use crate::{
    host::prefix::Prefix,
    kernel::{
        kinds,
        loops::Loops,
        mapped::Access,
        programs::{classifier, xdp},
        refusal,
        tables::Tables,
    },
    settings::Settings,
};

/// Arrays of programs, of XDP and of TC, by their names in the object and as pinned. The kernel empties an array when its
/// last descriptor and pin go.
pub const ARRAYS: [&str; 2] = ["XDP_CALLS", "TC_CALLS"];

/// Names of the programs, as they are pinned: of XDP, and of TC.
pub const PROGRAMS: [[&str; 2]; 2] = [["sdp_in", "media_in"], ["sdp_out", "media_out"]];

/// A program, and the name under which it is pinned.
pub(super) enum Loaded<'e> {
    Xdp(&'static str, &'e mut Xdp),
    Tc(&'static str, &'e mut SchedClassifier),
}

/// Calls `visit` with each of the loaded programs.
///
/// # Errors
/// If one is not loaded, or as `visit` says.
pub(super) fn each(
    ebpf: &mut Ebpf,
    loops: Loops,
    mut visit: impl FnMut(Loaded<'_>) -> Result<()>,
) -> Result<()> {
    let [of_xdp, of_tc] = PROGRAMS;
    for (pinned, name) in of_xdp.into_iter().zip(loops.media_xdp()) {
        visit(Loaded::Xdp(pinned, xdp(ebpf, name)?))?;
    }
    for (pinned, name) in of_tc.into_iter().zip(loops.media_tc()) {
        visit(Loaded::Tc(pinned, classifier(ebpf, name)?))?;
    }
    Ok(())
}

impl Loaded<'_> {
    /// Returns what the kernel says of it.
    ///
    /// # Errors
    /// If the kernel does not describe it.
    pub(super) fn info(&self) -> Result<(&'static str, ProgramInfo)> {
        Ok(match self {
            Self::Xdp(name, program) => (*name, program.info()?),
            Self::Tc(name, program) => (*name, program.info()?),
        })
    }
}

/// Has the kernel verify and load the programs of media, and puts them into their arrays.
///
/// # Errors
/// If the kernel refuses; a program refused by the verifier is a [`refusal::Rejected`].
pub(super) fn load(ebpf: &mut Ebpf, loops: Loops) -> Result<()> {
    let [xdp_calls, tc_calls] = ARRAYS;
    for (index, name) in (0..).zip(loops.media_xdp()) {
        let program = xdp(ebpf, name)?;
        program.load().map_err(|e| refusal::of_program(name, e))?;
        let program = program.fd()?.try_clone()?;
        array(ebpf, xdp_calls)?.set(index, &program, 0)?;
    }
    for (index, name) in (0..).zip(loops.media_tc()) {
        let program = classifier(ebpf, name)?;
        program.load().map_err(|e| refusal::of_program(name, e))?;
        let program = program.fd()?.try_clone()?;
        array(ebpf, tc_calls)?.set(index, &program, 0)?;
    }
    Ok(())
}

fn array<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<ProgramArray<&'e mut MapData>> {
    let map = ebpf
        .map_mut(name)
        .with_context(|| format!("the eBPF object has no map `{name}`"))?;
    Ok(ProgramArray::try_from(map)?)
}

/// Settings of media for the addresses that the host has now.
#[derive(Debug)]
struct Next {
    config: MediaConfig,
    /// Numbers that have gone from an address to another.
    reused: Vec<u32>,
    /// Number of addresses for which there is no number.
    left_out: usize,
}

/// Returns the settings of media in which the host's own unicast addresses have slots, as many as `slots` are enough for. An
/// address keeps its number, even if the host loses it: it may come back in a moment, and its streams go on then. Another one
/// gets its number only if no other is free.
fn next(known: &MediaConfig, kinds: &[(Prefix, u32)], slots: u32) -> Next {
    let own = kinds.iter().filter_map(|(prefix, kind)| {
        let Prefix::Net(net) = prefix else {
            return None;
        };
        let is_own = address::place(*kind) == address::LOCAL;
        let is_host = net.prefix_len() == net.max_prefix_len();
        let is_it = is_own && is_host && !net.addr().is_loopback();
        is_it.then(|| Endpoint::from(SocketAddr::new(net.addr(), 0)).addr)
    });
    let own: Vec<[u64; 2]> = own.collect();
    let mut next = Next {
        config: *known,
        reused: Vec::new(),
        left_out: 0,
    };
    let most = ((slots / MEDIA_PORTS) as usize).min(MEDIA_ADDRESSES);
    let (numbers, beyond) = next.config.addresses.split_at_mut(most);
    beyond.fill(FREE);
    for addr in &own {
        if numbers.contains(addr) {
            continue;
        }
        let free = numbers.iter().position(|known| *known == FREE);
        let lost = || numbers.iter().position(|known| !own.contains(known));
        let Some(number) = free.or_else(lost) else {
            next.left_out += 1;
            continue;
        };
        if free.is_none() {
            next.reused.push(number as u32);
        }
        numbers[number] = *addr;
    }
    next
}

/// Returns `known` with what the operator has told.
fn told(known: MediaConfig, settings: &Settings) -> MediaConfig {
    let mut externals = [FREE; MEDIA_EXTERNALS];
    for (external, ip) in externals.iter_mut().zip(&settings.externals) {
        *external = Endpoint::from(SocketAddr::new(*ip, 0)).addr;
    }
    let mut forwarding = [MediaPrefix::default(); MEDIA_FORWARDING];
    for (prefix, net) in forwarding.iter_mut().zip(&settings.guesses) {
        *prefix = prefix_of(*net);
    }
    MediaConfig {
        ports: settings.media_ports,
        externals,
        forwarding,
        restore: settings.restore.into(),
        ..known
    }
}

/// Returns a prefix as the programs compare it.
fn prefix_of(net: IpNet) -> MediaPrefix {
    let words = |ip: IpAddr| Endpoint::from(SocketAddr::new(ip, 0)).addr;
    let mask = match net.netmask() {
        // The IPv4-mapped prefix counts, too.
        IpAddr::V4(mask) => {
            let [a, b, c, d] = mask.octets();
            [
                u64::MAX,
                u64::from_ne_bytes([255, 255, 255, 255, a, b, c, d]),
            ]
        }
        IpAddr::V6(mask) => words(mask.into()),
    };
    MediaPrefix {
        addr: words(net.network()),
        mask,
    }
}

/// Address of a number that no address has.
const FREE: [u64; 2] = [0; 2];

/// Writes the settings of media, for the addresses that the host has now. Returns the number of those that have no slots.
///
/// # Errors
/// If a map cannot be written.
pub fn follow(tables: &mut Tables, kinds: &[(Prefix, u32)], settings: &Settings) -> Result<usize> {
    let known = tables.media_config()?;
    let Next {
        config,
        reused,
        left_out,
    } = next(&told(known, settings), kinds, tables.media.len());
    if !reused.is_empty() {
        let mut without = known;
        for number in &reused {
            without.addresses[*number as usize] = FREE;
        }
        write(tables, without)?;
        let mut streams = tables.streams(Access::Write)?;
        for number in &reused {
            streams.clear_address(*number);
        }
    }
    if config != known {
        write(tables, config)?;
    }
    Ok(left_out)
}

/// Returns the number of this host's addresses that have no slots.
///
/// # Errors
/// If a map cannot be read.
pub fn left_out(tables: &Tables) -> Result<usize> {
    let kinds: Vec<_> = kinds::read(&tables.addresses)?.into_iter().collect();
    let known = tables.media_config()?;
    Ok(next(&known, &kinds, tables.media.len()).left_out)
}

fn write(tables: &mut Tables, config: MediaConfig) -> Result<()> {
    let written = tables.media_config.set(0, config, 0);
    written.context("cannot write MEDIA_CONFIG")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(ip: &str) -> [u64; 2] {
        Endpoint::from(SocketAddr::new(ip.parse().expect("an address"), 0)).addr
    }

    fn kind(prefix: &str, kind: u32) -> (Prefix, u32) {
        (prefix.parse().expect("a prefix"), kind)
    }

    #[test]
    fn own_addresses_have_slots() {
        let kinds = [
            kind("127.0.0.1/32", address::LOCAL),
            kind("192.0.2.0/24", address::on_link(2)),
            kind("192.0.2.1/32", address::LOCAL),
            kind("192.0.2.255/32", address::BROADCAST),
            kind("2001:db8::1/128", address::LOCAL),
            kind("198.51.100.0/24", address::LOCAL),
        ];
        let at_first = |slots| next(&MediaConfig::default(), &kinds, slots);
        let found = at_first(4 * MEDIA_PORTS);
        let [first, second] = ["192.0.2.1", "2001:db8::1"].map(addr);
        assert_eq!(found.config.addresses[..3], [first, second, FREE]);
        assert_eq!(found.left_out, 0);
        let found = at_first(MEDIA_PORTS);
        assert_eq!(found.config.addresses[..2], [first, FREE]);
        assert_eq!(found.left_out, 1);
        assert_eq!(at_first(1).config.addresses, [FREE; MEDIA_ADDRESSES]);
    }

    #[test]
    fn prefixes_hold_their_addresses_only() {
        for (net, inside, outside) in [
            (
                "192.0.2.0/24",
                &["192.0.2.0", "192.0.2.255"][..],
                &["192.0.3.0", "::192.0.2.1"][..],
            ),
            ("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0"]),
            ("128.0.0.0/1", &["203.0.113.1"], &["60.17.196.2", "ffff::1"]),
            (
                "2001:db8::/33",
                &["2001:db8:7fff::1"],
                &["2001:db8:8000::", "192.0.2.1"],
            ),
            ("2001:db8::7/128", &["2001:db8::7"], &["2001:db8::6"]),
        ] {
            let settings = Settings {
                guesses: vec![net.parse().expect("a prefix")],
                ..Settings::default()
            };
            let config = told(MediaConfig::default(), &settings);
            for ip in inside {
                assert!(config.is_forwarding(&addr(ip)), "{net} {ip}");
            }
            for ip in outside {
                assert!(!config.is_forwarding(&addr(ip)), "{net} {ip}");
            }
        }
        assert!(!MediaConfig::default().is_forwarding(&FREE));
    }

    #[test]
    fn an_address_keeps_its_number() {
        let own = |ips: &[&str]| -> Vec<_> {
            let prefixes = ips.iter().map(|ip| format!("{ip}/32"));
            prefixes.map(|p| kind(&p, address::LOCAL)).collect()
        };
        let slots = 3 * MEDIA_PORTS;
        let mut known = MediaConfig::default();
        for (ips, numbers, reused) in [
            (&["192.0.2.5"][..], ["192.0.2.5", "", ""], &[][..]),
            // An address that comes before it in order.
            (
                &["192.0.2.1", "192.0.2.5"],
                ["192.0.2.5", "192.0.2.1", ""],
                &[],
            ),
            // It goes, and comes back.
            (&["192.0.2.1"], ["192.0.2.5", "192.0.2.1", ""], &[]),
            (
                &["192.0.2.1", "192.0.2.9"],
                ["192.0.2.5", "192.0.2.1", "192.0.2.9"],
                &[],
            ),
            // Its number is needed.
            (
                &["192.0.2.1", "192.0.2.7", "192.0.2.9"],
                ["192.0.2.7", "192.0.2.1", "192.0.2.9"],
                &[0],
            ),
        ] {
            let found = next(&known, &own(ips), slots);
            known = found.config;
            let numbers = numbers.map(|ip| if ip.is_empty() { FREE } else { addr(ip) });
            assert_eq!(known.addresses[..3], numbers, "{ips:?}");
            assert_eq!(found.reused, reused, "{ips:?}");
        }
        // Smaller tables.
        let found = next(&known, &own(&["192.0.2.1", "192.0.2.9"]), 2 * MEDIA_PORTS);
        assert_eq!(found.config.addresses[2], FREE);
    }
}
