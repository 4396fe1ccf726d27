//! What the kernel says of the programs on an interface: those of sipnat, and others.

use std::ffi::c_long;

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use nix::errno::Errno;
use serde::Serialize;

use crate::{
    host::net::{Link, Net},
    kernel::{
        attach::{Attached, Tc},
        raw,
    },
};

/// Programs on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Id of the XDP program.
    xdp: Option<u32>,
    /// Ids of the programs of tcx for what it sends, in the order in which they run.
    tcx: Vec<u32>,
    /// Those of the clsact qdisc, which run after them.
    clsact: Vec<u32>,
}

/// Another's program for what an interface sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its id.
    pub id: u32,
    /// Its name, if the kernel knows one.
    pub name: Option<String>,
    /// `tcx` or `clsact`.
    pub hook: &'static str,
    /// Whether it runs before sipnat's.
    pub before: bool,
}

impl Hooks {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn of(net: &Net, link: &Link) -> Result<Self> {
        let filters = net.egress_filters(link.index).await?;
        Ok(Self {
            xdp: link.xdp,
            tcx: tcx(link.index)?,
            clsact: filters.iter().map(|filter| filter.program).collect(),
        })
    }

    /// Returns what is missing of an interface's programs: `ours` are those of XDP and of egress. None if all are in place.
    #[must_use]
    pub fn missing(&self, attached: &Attached, [ingress, egress]: [u32; 2]) -> Option<String> {
        if self.xdp != Some(ingress) {
            return Some(match self.xdp {
                None => "its XDP program was detached".into(),
                Some(other) => format!("it has another XDP program, {}", described(other)),
            });
        }
        let (hook, there) = match attached.tc {
            Tc::Tcx => ("tcx", &self.tcx),
            Tc::Clsact { .. } => ("clsact", &self.clsact),
        };
        (!there.contains(&egress)).then(|| format!("its egress program was detached from {hook}"))
    }

    /// Returns the programs for what the interface sends that run before sipnat's, or before one that would be attached: all.
    #[must_use]
    pub fn before(&self, ours: Option<u32>) -> Vec<Other> {
        let others = self.others(ours).into_iter();
        others.filter(|other| other.before).collect()
    }

    /// Returns the programs for what the interface sends, in the order in which they run.
    fn chain(&self) -> Vec<(u32, &'static str)> {
        let tcx = self.tcx.iter().map(|id| (*id, "tcx"));
        tcx.chain(self.clsact.iter().map(|id| (*id, "clsact")))
            .collect()
    }

    /// Returns the other programs for what the interface sends. `ours` is the id of sipnat's: none if it is not there. Without it,
    /// all run before one that would be attached.
    #[must_use]
    pub fn others(&self, ours: Option<u32>) -> Vec<Other> {
        let chain = self.chain();
        let at = ours.map_or(Some(chain.len()), |ours| {
            chain.iter().position(|(id, _)| *id == ours)
        });
        let Some(at) = at else {
            return Vec::new();
        };
        let others = chain.iter().enumerate().filter(|(index, _)| *index != at);
        others
            .map(|(index, (id, hook))| Other::of(*id, hook, index < at))
            .collect()
    }
}

impl Other {
    fn of(id: u32, hook: &'static str, before: bool) -> Self {
        Self {
            id,
            name: name_of(id),
            hook,
            before,
        }
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_deref().unwrap_or("without a name");
        write!(f, "{name}, id {}, {}", self.id, self.hook)
    }
}

/// Arguments of `BPF_PROG_QUERY`, from linux/bpf.h.
#[repr(C)]
#[derive(Default)]
struct Query {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
    others: [u64; 4],
}

/// Lists the programs of tcx for what an interface sends. A kernel without tcx has none.
///
/// aya asks for a file descriptor of each program, too, for which the kernel wants CAP_SYS_ADMIN.
fn tcx(index: u32) -> Result<Vec<u32>> {
    const BPF_PROG_QUERY: c_long = 16;
    const BPF_TCX_EGRESS: u32 = 47;
    // The kernel allows no more.
    let mut ids = [0; 64];
    let mut query = Query {
        interface: index,
        attach_type: BPF_TCX_EGRESS,
        ids: (&raw mut ids).addr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    // SAFETY: the attributes are those of the command; the kernel writes no more than `count` ids.
    let done = unsafe { raw::bpf(BPF_PROG_QUERY, &mut query) };
    match done {
        Ok(_) => Ok(ids[..query.count as usize].to_vec()),
        // No tcx, or the interface has gone.
        Err(Errno::EINVAL | Errno::ENODEV) => Ok(Vec::new()),
        Err(error) => Err(error).context("cannot list the programs of tcx"),
    }
}

/// Describes a program by its id, and its name if it has one.
#[must_use]
pub fn described(id: u32) -> String {
    name_of(id).map_or_else(|| format!("id {id}"), |name| format!("id {id} `{name}`"))
}

fn name_of(id: u32) -> Option<String> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    let name = program.name_as_str().filter(|name| !name.is_empty());
    name.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attach::XdpMode;

    fn attached(tc: Tc) -> Attached {
        Attached {
            name: "eth0".into(),
            index: 2,
            xdp: XdpMode::Native,
            tc,
        }
    }

    fn hooks(xdp: Option<u32>, tcx: &[u32], clsact: &[u32]) -> Hooks {
        Hooks {
            xdp,
            tcx: tcx.into(),
            clsact: clsact.into(),
        }
    }

    #[test]
    fn what_was_detached_is_missing() {
        let clsact = Tc::Clsact {
            priority: 49152,
            handle: 1,
            made: true,
        };
        for (tc, hooks, words) in [
            (Tc::Tcx, hooks(Some(1), &[2], &[]), None),
            (Tc::Tcx, hooks(Some(1), &[7, 2], &[8]), None),
            (clsact, hooks(Some(1), &[], &[2]), None),
            (
                Tc::Tcx,
                hooks(None, &[2], &[]),
                Some("XDP program was detached"),
            ),
            (
                Tc::Tcx,
                hooks(Some(9), &[2], &[]),
                Some("another XDP program, id 9"),
            ),
            (
                Tc::Tcx,
                hooks(Some(1), &[], &[2]),
                Some("detached from tcx"),
            ),
            (
                clsact,
                hooks(Some(1), &[2], &[]),
                Some("detached from clsact"),
            ),
        ] {
            let missing = hooks.missing(&attached(tc), [1, 2]);
            match words {
                None => assert_eq!(missing, None),
                Some(words) => assert!(missing.unwrap().contains(words), "{words}"),
            }
        }
    }

    #[test]
    fn others_run_before_or_after() {
        const NONE: u32 = u32::MAX;
        let others = |ours| -> Vec<(u32, bool)> {
            let hooks = hooks(None, &[NONE, 2], &[NONE - 1]);
            let others = hooks.others(Some(ours));
            others
                .iter()
                .map(|other| (other.id, other.before))
                .collect()
        };
        assert_eq!(others(2), [(NONE, true), (NONE - 1, false)]);
        assert_eq!(others(3), []);
    }
}
