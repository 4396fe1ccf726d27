//! Interfaces that receive packets with partial UDP checksums.
//!
//! A packet that never leaves its machine has only the sum of its pseudo-header in the checksum field. The kernel takes it
//! for right, but the XDP program does not see the mark.

use crate::host::{
    ethtool,
    net::{Link, LinkKind},
};

/// Drivers of virtual machines, as `ethtool -i` names them: virtio, Xen, Hyper-V, VMware.
const DRIVERS: [&str; 4] = ["virtio_net", "vif", "hv_netvsc", "vmxnet3"];

/// Most interfaces that may lie on one another. The kernel allows 8.
const DEPTH: u32 = 8;

/// Whether one of `picked`, among all `links`, may receive packets whose UDP checksum is partial.
pub(crate) fn may_be_partial(picked: &[Link], links: &[Link]) -> bool {
    let driver = |name: &str| ethtool::driver(name).unwrap_or_default();
    picked
        .iter()
        .any(|link| is_virtual(link, links, driver, DEPTH))
}

/// Whether frames of `link` may come from this machine. VLANs and bonds are as the interfaces that carry them.
fn is_virtual(
    link: &Link,
    links: &[Link],
    driver: impl Fn(&str) -> String + Copy,
    depth: u32,
) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let any = |below: &dyn Fn(&&Link) -> bool| {
        links
            .iter()
            .filter(below)
            .any(|below| is_virtual(below, links, driver, depth))
    };
    match link.kind {
        LinkKind::Veth | LinkKind::Bridge | LinkKind::Software => true,
        // The carrier may be in another network namespace: then it is not known.
        LinkKind::Vlan => link.lower.is_none() || any(&|below| link.lower == Some(below.index)),
        LinkKind::Bond => any(&|below| below.controller == Some(link.index)),
        LinkKind::Other => DRIVERS.contains(&driver(&link.name).as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_frames_counts() {
        let over = |lower, vlan: Link| Link {
            lower: Some(lower),
            ..vlan
        };
        let of = |controller, port: Link| Link {
            controller: Some(controller),
            ..port
        };
        let links = [
            Link::ethernet(2, "eth0", LinkKind::Other),
            Link::ethernet(3, "ens3", LinkKind::Other),
            Link::ethernet(4, "veth0", LinkKind::Veth),
            Link::ethernet(5, "br0", LinkKind::Bridge),
            over(2, Link::ethernet(6, "eth0.7", LinkKind::Vlan)),
            over(4, Link::ethernet(7, "veth0.7", LinkKind::Vlan)),
            Link::ethernet(8, "far.7", LinkKind::Vlan),
            Link::ethernet(9, "bond0", LinkKind::Bond),
            of(9, Link::ethernet(10, "eth1", LinkKind::Other)),
            Link::ethernet(11, "bond1", LinkKind::Bond),
            of(11, Link::ethernet(12, "eth2", LinkKind::Other)),
            of(11, Link::ethernet(13, "ens4", LinkKind::Other)),
            over(11, Link::ethernet(14, "bond1.7", LinkKind::Vlan)),
            // It lies on itself.
            over(15, Link::ethernet(15, "odd", LinkKind::Vlan)),
        ];
        let driver = |name: &str| {
            let driver = if name.starts_with("ens") {
                "virtio_net"
            } else {
                "ixgbe"
            };
            driver.to_owned()
        };
        let found: Vec<&str> = links
            .iter()
            .filter(|link| is_virtual(link, &links, driver, DEPTH))
            .map(|link| link.name.as_str())
            .collect();
        assert_eq!(
            found,
            [
                "ens3", "veth0", "br0", "veth0.7", "far.7", "bond1", "ens4", "bond1.7"
            ]
        );
    }
}
