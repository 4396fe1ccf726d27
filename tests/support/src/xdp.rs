//! Programs that pass every packet: of XDP, and of TC. Links that somebody detaches.

use std::{
    ffi::{CString, c_long},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{bpf, netns::Netns};

// From linux/bpf.h and linux/if_link.h.
const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_GET: c_long = 7;
const BPF_LINK_CREATE: c_long = 28;
const BPF_LINK_DETACH: c_long = 34;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_EGRESS: u32 = 47;
const XDP_FLAGS_DRV_MODE: u32 = 4;
/// `r0 = XDP_PASS; exit`.
const XDP_PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
/// `r0 = TCX_NEXT; exit`.
const TCX_NEXT: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];

/// The attached program, detached when dropped.
#[derive(Debug)]
pub struct Passing {
    _link: OwnedFd,
}

/// First fields of `union bpf_attr` for `BPF_PROG_LOAD`. The kernel takes the rest for zero.
#[repr(C)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
}

/// First fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

impl Passing {
    /// Attaches the program in the driver.
    pub fn attach(netns: &Netns, interface: &str) -> Result<Self> {
        let program = load(BPF_PROG_TYPE_XDP, &XDP_PASS)?;
        attach(netns, interface, &program, [BPF_XDP, XDP_FLAGS_DRV_MODE])
    }

    /// Attaches a program for what the interface sends, by tcx (6.6).
    pub fn attach_egress(netns: &Netns, interface: &str) -> Result<Self> {
        let program = load(BPF_PROG_TYPE_SCHED_CLS, &TCX_NEXT)?;
        attach(netns, interface, &program, [BPF_TCX_EGRESS, 0])
    }
}

/// Loads a program of a type.
fn load(kind: u32, program: &[u64; 2]) -> Result<OwnedFd> {
    let load = Load {
        kind,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf::make(BPF_PROG_LOAD, &load) }.context("load a program")
}

fn attach(
    netns: &Netns,
    interface: &str,
    program: &OwnedFd,
    [kind, flags]: [u32; 2],
) -> Result<Passing> {
    let link = Link {
        program: u32::try_from(program.as_raw_fd())?,
        interface: netns.ifindex(interface)?,
        kind,
        flags,
    };
    let link = netns
        .enter(|| {
            // SAFETY: the attributes are those of the command.
            unsafe { bpf::make(BPF_LINK_CREATE, &link) }
        })?
        .with_context(|| format!("attach a program to {interface}"))?;
    Ok(Passing { _link: link })
}

/// Detaches a pinned link, which stays, as `bpftool link detach` does.
pub fn detach(pin: &Path) -> Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    let link = unsafe { bpf::make(BPF_OBJ_GET, &(path.as_ptr() as u64)) }
        .with_context(|| format!("open {}", pin.display()))?;
    let attributes = u32::try_from(link.as_raw_fd())?;
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf::call(BPF_LINK_DETACH, &attributes) }.context("detach a link")?;
    Ok(())
}
