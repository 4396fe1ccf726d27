//! Interfaces on which STUN answers get lost. The driver sends them itself, past the network stack.

use crate::{
    checks::warnings::Warning,
    host::{
        ethtool,
        net::{Link, LinkKind},
    },
    kernel::attach::{Attached, XdpMode},
};

/// Lists warnings for interfaces on which STUN is answered.
pub(crate) fn find(attached: &[Attached], links: &[Link]) -> Vec<Warning> {
    check(attached, links, |name| {
        // A driver that does not know the flag leaves tags in place.
        ethtool::strips_vlan_tags(name).unwrap_or(false)
    })
}

fn check(attached: &[Attached], links: &[Link], strips: impl Fn(&str) -> bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for link in links.iter().filter(|link| {
        let here = attached.iter().find(|a| a.index == link.index);
        // Generic XDP sends through the network stack, which handles both.
        here.is_some_and(|here| here.xdp == XdpMode::Native)
    }) {
        let name = &link.name;
        // The other end of a veth has a name here if it is in this network namespace.
        let peer = (link.kind == LinkKind::Veth).then(|| {
            let peer = links.iter().find(|peer| Some(peer.index) == link.lower);
            peer.map_or("PEER", |peer| &peer.name)
        });
        if let Some(peer) = peer {
            // The kernel refuses to send answers. With GRO at the other end it takes them, but they do not arrive (6.18).
            warnings.push(Warning::without_terminal(
                format!(
                    "{name} is a veth: STUN answers are lost unless its other end, {peer}, has a native XDP program, too; \
                     `--xdp generic` does without"
                ),
                None,
            ));
        }
        let vlan = links
            .iter()
            .find(|vlan| vlan.kind == LinkKind::Vlan && vlan.lower == Some(link.index));
        if let Some(vlan) = vlan.filter(|_| peer.is_some() || strips(name)) {
            warnings.push(Warning::without_terminal(
                format!(
                    "{name} carries VLANs ({}), and frames come from its driver without their tags: so do STUN answers leave",
                    vlan.name
                ),
                Some(peer.map_or_else(
                    || format!("ethtool -K {name} rxvlan off"),
                    // Only the other end of a veth can put tags into frames.
                    |peer| format!("ethtool -K {peer} txvlan off"),
                )),
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attach::Tc;

    fn link(index: u32, name: &str, kind: LinkKind, lower: Option<u32>) -> Link {
        Link {
            lower,
            ..Link::ethernet(index, name, kind)
        }
    }

    /// Lists remedies, and texts of warnings without one.
    fn remedies(xdp: XdpMode, links: &[Link], strips: bool) -> Vec<String> {
        let attached = Attached {
            name: "eth0".into(),
            index: 2,
            xdp,
            tc: Tc::Tcx,
        };
        check(&[attached], links, |name| {
            assert_eq!(name, "eth0");
            strips
        })
        .into_iter()
        .map(|warning| warning.remedy.unwrap_or(warning.text))
        .collect()
    }

    #[test]
    fn a_veth_is_warned_of() {
        let mut links = vec![
            link(2, "eth0", LinkKind::Veth, None),
            link(3, "other", LinkKind::Veth, None),
        ];
        let elsewhere = remedies(XdpMode::Native, &links, false);
        assert_eq!(elsewhere.len(), 1);
        assert!(elsewhere[0].contains("its other end, PEER, has"));
        links[0].lower = Some(3);
        links.push(link(4, "eth0.7", LinkKind::Vlan, Some(2)));
        let here = remedies(XdpMode::Native, &links, false);
        assert!(here[0].contains("its other end, other, has"));
        assert_eq!(here[1..], ["ethtool -K other txvlan off"]);
        assert!(remedies(XdpMode::Generic, &links, false).is_empty());
    }

    #[test]
    fn stripped_tags_are_warned_of() {
        let links = [
            link(2, "eth0", LinkKind::Other, None),
            link(3, "eth0.7", LinkKind::Vlan, Some(2)),
        ];
        let stripped = remedies(XdpMode::Native, &links, true);
        assert_eq!(stripped, ["ethtool -K eth0 rxvlan off"]);
        assert!(remedies(XdpMode::Native, &links, false).is_empty());
        assert!(remedies(XdpMode::Generic, &links, true).is_empty());
        assert!(remedies(XdpMode::Native, &links[..1], true).is_empty());
        let mut another = links;
        another[1].lower = Some(4);
        assert!(remedies(XdpMode::Native, &another, true).is_empty());
    }
}
