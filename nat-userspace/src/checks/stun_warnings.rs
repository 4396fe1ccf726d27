//! What of an interface keeps STUN answers, which the driver sends itself, from arriving.

use crate::{
    agent::record::{Attached, XdpMode},
    checks::warnings::Warning,
    host::ethtool,
    host::net::{Kind, Link},
};

/// All there is to warn of where STUN is answered.
pub(crate) fn find(attached: &[Attached], links: &[Link]) -> Vec<Warning> {
    look(attached, links, |name| {
        // A driver that does not know of tags leaves them where they are.
        ethtool::strips_vlan_tags(name).unwrap_or(false)
    })
}

fn look(attached: &[Attached], links: &[Link], strips: impl Fn(&str) -> bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for link in links.iter().filter(|link| {
        let here = attached.iter().find(|a| a.index == link.index);
        // Generic XDP sends through the network stack, which is fine with either.
        here.is_some_and(|here| here.xdp == XdpMode::Native)
    }) {
        let name = &link.name;
        // The other end of a veth, which has a name here if it is in this network namespace.
        let peer = (link.kind == Kind::Veth).then(|| {
            let peer = links.iter().find(|peer| Some(peer.index) == link.lower);
            peer.map_or("PEER", |peer| &peer.name)
        });
        if let Some(peer) = peer {
            // The kernel refuses to send them; with GRO on at the other end it takes them, but they do not arrive (6.18).
            warnings.push(Warning::of_stun(
                format!(
                    "{name} is a veth: STUN answers are lost unless its other end, {peer}, has a native XDP program, too; \
                     `--xdp generic` does without"
                ),
                None,
            ));
        }
        let vlan = links
            .iter()
            .find(|vlan| vlan.kind == Kind::Vlan && vlan.lower == Some(link.index));
        if let Some(vlan) = vlan.filter(|_| peer.is_some() || strips(name)) {
            warnings.push(Warning::of_stun(
                format!(
                    "{name} carries VLANs ({}), and frames come from its driver without their tags: so do STUN answers leave",
                    vlan.name
                ),
                Some(peer.map_or_else(
                    || format!("ethtool -K {name} rxvlan off"),
                    // A veth never puts tags into frames; its other end can.
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
    use crate::agent::record::Tc;

    fn link(index: u32, name: &str, kind: Kind, lower: Option<u32>) -> Link {
        Link {
            index,
            name: name.into(),
            ethernet: true,
            xdp: None,
            kind,
            lower,
        }
    }

    /// Remedies, and warnings without one.
    fn remedies(xdp: XdpMode, links: &[Link], strips: bool) -> Vec<String> {
        let attached = Attached {
            name: "eth0".into(),
            index: 2,
            xdp,
            tc: Tc::Tcx,
        };
        look(&[attached], links, |name| {
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
            link(2, "eth0", Kind::Veth, None),
            link(3, "other", Kind::Veth, None),
        ];
        let elsewhere = remedies(XdpMode::Native, &links, false);
        assert_eq!(elsewhere.len(), 1);
        assert!(elsewhere[0].contains("its other end, PEER, has"));
        links[0].lower = Some(3);
        links.push(link(4, "eth0.7", Kind::Vlan, Some(2)));
        let here = remedies(XdpMode::Native, &links, false);
        assert!(here[0].contains("its other end, other, has"));
        assert_eq!(here[1..], ["ethtool -K other txvlan off"]);
        assert!(remedies(XdpMode::Generic, &links, false).is_empty());
    }

    #[test]
    fn stripped_tags_are_warned_of() {
        let links = [
            link(2, "eth0", Kind::Other, None),
            link(3, "eth0.7", Kind::Vlan, Some(2)),
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
