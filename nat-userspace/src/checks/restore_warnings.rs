//! Sources that this host refuses: with `--media-restore`, the media of terminals come from private addresses.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;

use crate::{
    checks::warnings::Warning,
    host::net::Net,
    kernel::{attach::Attached, tables::Tables},
    view::streams,
};

/// Check of the source of packets that arrive (RFC 3704): the kernel's `rp_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceCheck {
    Off,
    /// The route to the source must lead through the interface.
    Strict,
    /// There must be a route to the source.
    Loose,
}

impl SourceCheck {
    /// Reads that of an interface: the larger one of its own and that of all.
    fn of(interface: &str) -> Self {
        let value = |name: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        Self::from_values(value("all"), value(interface))
    }

    const fn from_values(all: u32, own: u32) -> Self {
        match if all > own { all } else { own } {
            0 => Self::Off,
            1 => Self::Strict,
            _ => Self::Loose,
        }
    }

    /// Whether it drops packets that come through an interface from a source to which a route leads through another one, or none.
    fn drops(self, interface: u32, route: Option<u32>) -> bool {
        match self {
            Self::Off => false,
            Self::Strict => route != Some(interface),
            Self::Loose => route.is_none(),
        }
    }
}

/// Warns of interfaces whose kernel drops restored packets.
///
/// # Errors
/// If a map cannot be read, or the kernel does not tell its routes.
pub(crate) async fn find(
    net: &Net,
    attached: &[Attached],
    tables: &Tables,
) -> Result<Option<Warning>> {
    if tables.media_config()?.restore == 0 {
        return Ok(None);
    }
    let streams = streams::read(tables)?.into_iter();
    let of_v4 = |stream: streams::Stream| match stream.advertised.ip() {
        IpAddr::V4(ip) if stream.rewrite => Some(ip),
        _ => None,
    };
    let sources: BTreeSet<Ipv4Addr> = streams.filter_map(of_v4).collect();
    for interface in attached {
        let check = SourceCheck::of(&interface.name);
        for source in &sources {
            let route = net.route((*source).into()).await?.map(|route| route.index);
            if check.drops(interface.index, route) {
                return Ok(Some(warning(&interface.name, *source)));
            }
        }
    }
    Ok(None)
}

fn warning(interface: &str, source: Ipv4Addr) -> Warning {
    Warning::without_terminal(
        format!(
            "media-restore gives packets the source {source}, which the kernel drops on {interface} (rp_filter): no route leads \
             there through {interface}"
        ),
        Some(format!(
            "sysctl net.ipv4.conf.{interface}.rp_filter=2, if a default route leads through another interface; else run without --media-restore"
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_value_counts() {
        for (all, own, expected) in [
            (0, 0, SourceCheck::Off),
            (1, 0, SourceCheck::Strict),
            (0, 1, SourceCheck::Strict),
            (1, 2, SourceCheck::Loose),
            (2, 1, SourceCheck::Loose),
        ] {
            assert_eq!(SourceCheck::from_values(all, own), expected, "{all} {own}");
        }
    }

    #[test]
    fn sources_need_a_route() {
        for (check, route, drops) in [
            (SourceCheck::Off, None, false),
            (SourceCheck::Loose, Some(3), false),
            (SourceCheck::Loose, None, true),
            (SourceCheck::Strict, Some(2), false),
            (SourceCheck::Strict, Some(3), true),
            (SourceCheck::Strict, None, true),
        ] {
            assert_eq!(check.drops(2, route), drops, "{check:?} {route:?}");
        }
    }
}
