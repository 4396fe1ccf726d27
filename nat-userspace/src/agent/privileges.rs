//! Capabilities of the agent while it serves.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use tracing::debug;

/// Capabilities that an agent may still use: to attach to interfaces that come, and to keep its record and pins where an agent of
/// another user has made them.
const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
];

/// Drops what only the start needs: CAP_PERFMON and CAP_SYS_ADMIN, with which the programs are loaded, CAP_NET_RAW, with which the
/// sockets of keepalives are opened, and whatever else root has. Threads that this one starts later have no more.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn drop_unneeded() -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("cannot read the capabilities")?;
    let kept = kept(&held);
    // Ambient capabilities go with these.
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let held = caps::read(None, set).context("cannot read the capabilities")?;
        caps::set(None, set, &(&held & &kept))
            .context("cannot drop capabilities: is capset(2) filtered?")?;
    }
    let mut names: Vec<_> = kept.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    debug!("goes on with {}", names.join(", "));
    Ok(())
}

fn kept(held: &CapsHashSet) -> CapsHashSet {
    let mut kept: CapsHashSet = KEPT.into_iter().filter(|one| held.contains(one)).collect();
    if !kept.contains(&Capability::CAP_BPF) {
        // It stands in for CAP_BPF.
        kept.extend(held.get(&Capability::CAP_SYS_ADMIN));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_for_another_stays() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_SYS_ADMIN};
        for (held, left) in [
            (
                &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_NET_RAW][..],
                &[CAP_BPF, CAP_NET_ADMIN][..],
            ),
            (
                &[CAP_SYS_ADMIN, CAP_NET_ADMIN],
                &[CAP_SYS_ADMIN, CAP_NET_ADMIN],
            ),
            (&[CAP_SYS_ADMIN, CAP_BPF], &[CAP_BPF]),
            (&[], &[]),
        ] {
            let held = held.iter().copied().collect();
            assert_eq!(kept(&held), left.iter().copied().collect());
        }
        let all = caps::all();
        assert_eq!(kept(&all), KEPT.into_iter().collect());
    }
}
