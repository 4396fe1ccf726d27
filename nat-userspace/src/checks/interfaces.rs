//! Interfaces: whether the programs are on them, as the kernel says, and what is in their way.

use std::path::Path;

use anyhow::Result;
use caps::{CapSet, Capability};
use nat_common::abi::Config;
use serde::Serialize;

use crate::{
    checks::{preflight, warnings::Warning},
    host::net::{Link, LinkKind, Net},
    kernel::{
        attach::Attached,
        hooks::{Hooks, Other},
        pins,
    },
};

/// An interface that the settings name, or on which an agent has left its programs.
#[derive(Debug, Serialize)]
pub(crate) struct InterfaceStatus {
    /// How it was attached; none if it was not.
    #[serde(flatten)]
    how: Option<Attached>,
    /// Its name, if it was not attached.
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// Whether both programs are in place; none if this user may not ask the kernel.
    attached: Option<bool>,
    /// Reason why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Others' programs for what it sends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
}

impl InterfaceStatus {
    /// Returns how it is attached, unless the kernel says that it is not.
    pub(crate) fn attached(&self) -> Option<&Attached> {
        let how = self.how.as_ref();
        how.filter(|_| self.attached != Some(false))
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        let how = self.how.as_ref().map(|how| how.name.as_str());
        how.or(self.missing.as_deref()).unwrap_or_default()
    }
}

/// Whether this user may ask the kernel which programs are attached: not a reader, nor the agent's user without the agent's
/// capabilities.
pub(crate) fn may_ask(pins: &Path) -> bool {
    let admin = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN);
    admin.unwrap_or(false) && pins::may_open_programs(pins)
}

/// Asks the kernel about the interfaces that an agent has attached, and about those that are `missing`. `ours` are the ids of its
/// programs; none if this user may not ask for them.
///
/// # Errors
/// If the kernel does not answer.
pub(crate) async fn find(
    net: &Net,
    links: &[Link],
    attached: &[Attached],
    missing: &[String],
    ours: Option<[u32; 2]>,
) -> Result<Vec<InterfaceStatus>> {
    let mut found = Vec::new();
    for known in attached {
        let link = links.iter().find(|link| link.index == known.index);
        let (problem, others) = match (link, ours) {
            (None, _) => (Some("the interface has gone".into()), Vec::new()),
            (Some(link), None) if link.xdp.is_some() => (None, Vec::new()),
            (Some(_), None) => (Some("its XDP program was detached".into()), Vec::new()),
            (Some(link), Some(ours)) => {
                let hooks = Hooks::of(net, link).await?;
                (hooks.missing(known, ours), hooks.others(Some(ours[1])))
            }
        };
        found.push(InterfaceStatus {
            how: Some(known.clone()),
            missing: None,
            attached: match (&problem, ours) {
                (Some(_), _) => Some(false),
                (None, Some(_)) => Some(true),
                (None, None) => None,
            },
            problem,
            others,
        });
    }
    for name in missing {
        let problem = match links.iter().find(|link| link.name == *name) {
            None => "there is no such interface".into(),
            Some(link) => preflight::is_ethernet(link)
                .and_then(|()| preflight::xdp_is_free(link))
                .err()
                .map_or_else(
                    || "see the log of the agent".into(),
                    |error| format!("{error:#}"),
                ),
        };
        found.push(InterfaceStatus {
            how: None,
            missing: Some(name.clone()),
            attached: Some(false),
            problem: Some(problem),
            others: Vec::new(),
        });
    }
    Ok(found)
}

/// Lists warnings for interfaces.
pub(crate) fn warnings(
    interfaces: &[InterfaceStatus],
    links: &[Link],
    config: &Config,
    running: bool,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |text, remedy: Option<&str>| {
        warnings.push(Warning::without_terminal(text, remedy.map(str::to_owned)));
    };
    for interface in interfaces {
        let name = interface.name();
        if let Some(problem) = &interface.problem {
            let remedy = if running {
                "the agent attaches as soon as it can; its log says more"
            } else {
                "sipnat run"
            };
            warn(format!("sipnat is not on {name}: {problem}"), Some(remedy));
        }
        for other in interface.others.iter().filter(|other| other.before) {
            warn(
                format!(
                    "another program for what {name} sends runs before sipnat's ({other}): packets that it sends on or drops \
                     itself are not seen"
                ),
                None,
            );
        }
        let index = interface.attached().map(|known| known.index);
        let Some(link) = links.iter().find(|link| Some(link.index) == index) else {
            continue;
        };
        match link.controller_in(links) {
            Some(bond) if bond.kind == LinkKind::Bond => warn(
                format!(
                    "{name} is a port of {bond}: what goes by its other ports is not seen",
                    bond = bond.name
                ),
                Some(&format!("sipnat run --iface {}", bond.name)),
            ),
            Some(bridge) if bridge.kind == LinkKind::Bridge && config.only_pbxs == 0 => warn(
                format!(
                    "{name} is a port of the bridge {bridge}, and --pbx names no PBX: sipnat learns for any host behind it",
                    bridge = bridge.name
                ),
                Some("name the PBX by --pbx ADDRESS"),
            ),
            _ => {}
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attach::{Tc, XdpMode};

    fn on(name: &str, index: u32) -> InterfaceStatus {
        InterfaceStatus {
            how: Some(Attached {
                name: name.into(),
                index,
                xdp: XdpMode::Native,
                tc: Tc::Tcx,
            }),
            missing: None,
            attached: Some(true),
            problem: None,
            others: Vec::new(),
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let port = |controller, link: Link| Link {
            controller: Some(controller),
            ..link
        };
        let links = [
            Link::ethernet(2, "eth0", LinkKind::Other),
            port(8, Link::ethernet(3, "eth1", LinkKind::Other)),
            port(9, Link::ethernet(4, "eth2", LinkKind::Other)),
            Link::ethernet(8, "bond0", LinkKind::Bond),
            Link::ethernet(9, "br0", LinkKind::Bridge),
        ];
        let texts = |interface: InterfaceStatus, only_pbxs| {
            let config = Config {
                only_pbxs,
                ..Config::default()
            };
            let found = warnings(&[interface], &links, &config, true);
            found
                .into_iter()
                .map(|w| w.text)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(texts(on("eth0", 2), 0), "");
        assert!(texts(on("eth1", 3), 0).contains("a port of bond0"));
        assert!(texts(on("eth2", 4), 0).contains("the bridge br0, and --pbx"));
        assert_eq!(texts(on("eth2", 4), 1), "");
        let other = |before| Other {
            id: 7,
            name: Some("shaper".into()),
            hook: "tcx",
            before,
        };
        let beside = |before| InterfaceStatus {
            others: vec![other(before)],
            ..on("eth0", 2)
        };
        assert!(texts(beside(true), 0).contains("(shaper, id 7, tcx)"));
        assert_eq!(texts(beside(false), 0), "");
        let gone = InterfaceStatus {
            problem: Some("the interface has gone".into()),
            attached: Some(false),
            ..on("eth0", 2)
        };
        assert!(gone.attached().is_none());
        assert_eq!(
            texts(gone, 0),
            "sipnat is not on eth0: the interface has gone"
        );
    }
}
