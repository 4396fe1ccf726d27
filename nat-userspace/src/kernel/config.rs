//! `CONFIG`: the settings as the kernel programs read them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use nat_common::{
    abi::{
        self, ABI, Config, Interface, MAX_INTERFACES, MAX_PBXS, MAX_PORTS, MEDIA_ADDRESSES,
        MEDIA_PORTS, NO_PBX, SECOND,
    },
    endpoint::Endpoint,
    engine::{keepalive::Ping, lifetimes},
    tables::buckets,
};

use crate::{
    host::{
        clock,
        net::{Link, LinkKind},
    },
    kernel::tables::{sized, write_masks},
    settings::{Settings, Sizes},
};

/// Derives the programs' configuration, with a fresh secret.
///
/// # Errors
/// If a setting is out of range.
pub fn config(settings: &Settings) -> Result<Config> {
    let Settings {
        ports,
        settle,
        dialogs,
        shadow,
        stun,
        pbxs,
        keepalives,
        ..
    } = settings;
    ensure!(!ports.is_empty(), "no SIP port given");
    ensure!(
        ports.len() <= MAX_PORTS,
        "{} ports given, at most {MAX_PORTS} can be served",
        ports.len()
    );
    ensure!(!ports.contains(&0), "port 0 is no port");
    ensure!(
        pbxs.len() <= MAX_PBXS,
        "{} addresses of PBXs given, at most {MAX_PBXS} can be served",
        pbxs.len()
    );
    ensure!(
        !(*shadow && stun.answer),
        "shadow and STUN exclude each other: an answer is a change"
    );
    ensure!(
        !(*shadow && keepalives.are_on()),
        "shadow and keepalive exclude each other: in shadow mode sipnat sends nothing"
    );
    let sizes = sizes(settings)?;
    let mut config = Config {
        secret: [getrandom::u64()?, getrandom::u64()?],
        abi: ABI,
        history_mask: sizes.history - 1,
        bucket_mask: sizes.buckets - 1,
        shadow: (*shadow).into(),
        pbxs: [NO_PBX; MAX_PBXS],
        only_pbxs: (!pbxs.is_empty()).into(),
        settled: clock::now() + u64::from(*settle) * SECOND,
        dialog_lives: lifetimes::of_dialogs(
            u64::from(dialogs.idle) * SECOND,
            u64::from(dialogs.early) * SECOND,
        ),
        ..Config::default()
    };
    write_masks(&sizes, &mut config);
    if keepalives.are_on() {
        config.keepalive = Ping::digits(getrandom::u64()?);
    }
    config.ports[..ports.len()].copy_from_slice(ports);
    for (known, addr) in config.pbxs.iter_mut().zip(pbxs) {
        *known = Endpoint::from(SocketAddr::new(*addr, 0)).addr;
    }
    if stun.answer {
        ensure!(stun.burst > 0, "a STUN burst of 0 would answer nothing");
        config.stun = abi::stun::ANSWER;
        if stun.software {
            config.stun |= abi::stun::SOFTWARE;
        }
        // The SIP ports answer anyway.
        if !ports.contains(&stun.port) {
            config.stun_port = stun.port.into();
        }
        config.stun_rate = buckets::rate(stun.rate, stun.burst);
        config.stun_total = buckets::total_rate(stun.total_rate);
    }
    Ok(config)
}

/// Describes interfaces to the programs, `links` among all.
#[must_use]
pub fn interfaces(links: &[Link], all: &[Link]) -> [Interface; MAX_INTERFACES] {
    let mut interfaces = [Interface::default(); MAX_INTERFACES];
    for (known, link) in interfaces.iter_mut().zip(links) {
        let controller = link.controller_in(all).map(|controller| controller.kind);
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&link.mac.unwrap_or_default());
        *known = Interface {
            index: link.index,
            port: matches!(controller, Some(LinkKind::Bridge | LinkKind::Bond)).into(),
            mac: u64::from_ne_bytes(mac),
        };
    }
    interfaces
}

/// Returns the sizes of the maps. The tables of STUN, of media and of keepalives have one entry where they are off.
///
/// # Errors
/// If a size is out of range.
pub(super) fn sizes(settings: &Settings) -> Result<Sizes> {
    let mut sizes = settings.sizes;
    for (name, size) in sized(&sizes) {
        ensure!(
            size.is_power_of_two(),
            "the size of {name} must be a power of two, not {size}"
        );
    }
    if !settings.stun.answer {
        sizes.buckets = 1;
    }
    if !settings.keepalives.are_on() {
        sizes.keepalives = 1;
        if !settings.stun.answer {
            sizes.stun = 1;
        }
    }
    if settings.media {
        const MOST: u32 = MEDIA_ADDRESSES as u32 * MEDIA_PORTS;
        sizes.media = sizes.media.clamp(MEDIA_PORTS, MOST);
    } else {
        sizes.offers = 1;
        sizes.media = 1;
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use nat_common::abi::Table;

    use super::*;
    use crate::settings::{Dialogs, Keepalives, Stun, keepalive_rule};

    fn with(change: impl FnOnce(&mut Settings)) -> Result<Config> {
        let mut settings = Settings::default();
        change(&mut settings);
        config(&settings)
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(with(|_| ()).is_ok());
        for ports in [&[][..], &[0], &[5060, 0], &[1; MAX_PORTS + 1]] {
            assert!(with(|s| s.ports = ports.into()).is_err(), "{ports:?}");
        }
        assert!(with(|s| s.sizes.transactions = 1000).is_err());
        let stun = Stun {
            answer: true,
            ..Stun::default()
        };
        assert!(with(|s| s.stun = stun).is_ok());
        assert!(with(|s| s.stun = Stun { burst: 0, ..stun }).is_err());
        assert!(with(|s| (s.stun, s.shadow) = (stun, true)).is_err());
    }

    #[test]
    fn pbxs_are_those_of_the_settings() {
        let pbx = |addr: &str| Endpoint::from(SocketAddr::new(addr.parse().unwrap(), 5060));
        let config = with(|s| s.pbxs = vec!["192.0.2.5".parse().unwrap()]).unwrap();
        assert!(config.is_pbx(&pbx("192.0.2.5")));
        assert!(!config.is_pbx(&pbx("192.0.2.6")) && !config.is_pbx(&pbx("::")));
        assert!(with(|_| ()).unwrap().is_pbx(&pbx("192.0.2.6")));
        let nine = vec!["192.0.2.5".parse().unwrap(); MAX_PBXS + 1];
        assert!(with(|s| s.pbxs = nine).is_err());
    }

    #[test]
    fn frames_that_this_host_has_not_routed_keep_their_next_hop() {
        let of = |index, name, kind, controller, mac| Link {
            controller,
            mac: Some([2, 0, 0, 0, 0, mac]),
            ..Link::ethernet(index, name, kind)
        };
        let all = [
            of(2, "eth0", LinkKind::Other, None, 2),
            of(3, "eth1", LinkKind::Other, Some(9), 3),
            of(4, "eth2", LinkKind::Other, Some(10), 4),
            of(9, "br0", LinkKind::Bridge, None, 3),
            of(10, "vrf0", LinkKind::Other, None, 10),
        ];
        let config = Config {
            interfaces: interfaces(&all[..3], &all),
            ..Config::default()
        };
        // The type of the frame stands behind the address.
        let keeps = |index, mac: u8| {
            let source = u64::from_ne_bytes([2, 0, 0, 0, 0, mac, 8, 0]);
            config.keeps_next_hop(index, source)
        };
        for (index, mac, expected) in [
            (2, 2, false),
            (2, 7, true),
            (3, 3, true),
            (4, 4, false),
            // Beyond the entries, or not known.
            (9, 7, false),
        ] {
            assert_eq!(keeps(index, mac), expected, "{index} {mac}");
        }
    }

    #[test]
    fn media_has_slots_for_whole_addresses() {
        let slots = |media, size| {
            let mut settings = Settings {
                media,
                ..Settings::default()
            };
            settings.sizes.media = size;
            sizes(&settings).unwrap().media
        };
        assert_eq!(slots(false, 1 << 20), 1);
        for (asked, given) in [(1024, 1), (1 << 17, 2), (1 << 24, 8)] {
            assert_eq!(slots(true, asked), given * MEDIA_PORTS, "{asked}");
        }
    }

    #[test]
    fn configuration_says_what_the_kernel_needs() {
        let config = with(|s| s.ports = vec![5060, 5080]).unwrap();
        assert_eq!(config.abi, ABI);
        assert_eq!(config.ports, [5060, 5080, 0, 0, 0, 0, 0, 0]);
        assert_eq!(config.masks[Table::Inbound as usize], 16383);
        assert_eq!(config.masks[Table::Outbound as usize], 16383);
        let stun = config.masks[Table::Stun as usize];
        assert_eq!((config.bucket_mask, stun), (0, 0));
        assert_eq!(config.shadow, 0);
        assert_ne!(with(|s| s.shadow = true).unwrap().shadow, 0);
        let now = clock::now();
        let settled = with(|s| s.settle = 60).unwrap().settled;
        assert!((now + 60 * SECOND..now + 70 * SECOND).contains(&settled));
        let dialogs = Dialogs {
            idle: 7200,
            early: 240,
        };
        let lives = with(|s| s.dialogs = dialogs).unwrap().dialog_lives;
        assert_eq!(lives, [7200, 240, 32, 32].map(|life| life * SECOND));
        let other = with(|_| ()).unwrap();
        assert_ne!(config.secret, other.secret, "the secret is fresh each time");
    }

    #[test]
    fn keepalives_have_a_cookie_and_a_table() {
        let settings = |rule: &str| Settings {
            keepalives: Keepalives {
                rules: vec![keepalive_rule(rule).unwrap()],
                ..Keepalives::default()
            },
            ..Settings::default()
        };
        let read = |rule: &str| {
            let settings = settings(rule);
            let sizes = sizes(&settings).unwrap();
            let cookie = config(&settings).unwrap().keepalive;
            (cookie, sizes.keepalives, sizes.stun)
        };
        let (cookie, records, sources) = read("options");
        assert!(
            cookie
                .iter()
                .all(|word| word.to_le_bytes().iter().all(u8::is_ascii_hexdigit))
        );
        assert_ne!(cookie, read("options").0, "the cookie is fresh each time");
        assert_eq!((records, sources), (16384, 4096));
        assert_eq!(read("off"), ([0; 2], 1, 1));
        let shadow = Settings {
            shadow: true,
            ..settings("crlf")
        };
        assert!(config(&shadow).is_err());
    }

    #[test]
    fn limits_of_stun_are_those_of_the_settings() {
        let stun = Stun {
            answer: true,
            rate: 5,
            burst: 7,
            total_rate: 300,
            ..Stun::default()
        };
        let limits = |stun| {
            let config = with(|s| s.stun = stun).unwrap();
            let total = buckets::total_limit(&config.stun_total);
            (buckets::limit(&config.stun_rate), total)
        };
        assert_eq!(limits(stun), (Some((5, 7)), Some(300)));
        let unlimited = Stun {
            rate: 0,
            total_rate: 0,
            ..stun
        };
        assert_eq!(limits(unlimited), (None, None));
    }

    #[test]
    fn only_the_sip_ports_answer_stun_where_no_other_is_named() {
        let port = |port, ports: &[u16]| {
            let config = with(|s| {
                s.stun.answer = true;
                s.stun.port = port;
                s.ports = ports.into();
            });
            config.unwrap().stun_port
        };
        assert_eq!(port(3478, &[5060]), 3478);
        assert_eq!(port(0, &[5060]), 0);
        assert_eq!(port(5060, &[5060]), 0);
        assert_eq!(port(3478, &[3478]), 0);
    }
}
