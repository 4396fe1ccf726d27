//! Attaches the programs to an interface, and detaches them.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    Link as _, LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpError,
    links::{FdLink, PinnedLink},
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    xdp::XdpMode as XdpFlags,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::{
    host::{
        net::{Link, Net, name_of},
        terminal::note,
    },
    kernel::{load::Programs, pins},
};

/// An interface with the programs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its name: when attached, or since read again.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Mode of the XDP program.
    pub xdp: XdpMode,
    /// Hook of the egress program.
    pub tc: Tc,
}

/// Mode of an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// By the driver.
    Native,
    /// By the network stack.
    Generic,
}

/// Hook of the egress program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tc {
    /// A tcx link (6.6).
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact {
        /// Priority of the filter.
        priority: u16,
        /// Handle of the filter.
        handle: u32,
        /// Set if sipnat made the qdisc.
        made: bool,
    },
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl fmt::Display for Attached {
    /// Writes it as in the ready line: `eth0 (xdp native, tcx)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xdp = self.xdp;
        let tc = match self.tc {
            Tc::Tcx => "tcx",
            Tc::Clsact { .. } => "clsact",
        };
        write!(f, "{} (xdp {xdp}, {tc})", self.name)
    }
}

impl Attached {
    /// Reads the interface's name again: it may have changed.
    pub fn refresh_name(&mut self) {
        if let Some(name) = name_of(self.index) {
            self.name = name;
        }
    }
}

/// Choice of how the programs are attached.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Mode of the XDP program; none: native if the driver can, else generic.
    pub xdp: Option<XdpMode>,
    /// Attach the egress program by a tcx link, if the kernel has them (6.6).
    pub tcx: bool,
}

impl From<&Attached> for Mode {
    fn from(attached: &Attached) -> Self {
        Self {
            xdp: Some(attached.xdp),
            tcx: attached.tc == Tc::Tcx,
        }
    }
}

/// Attaches both programs to `link`, and pins the links in `dir`. `before` names the programs of an earlier agent there: each
/// is replaced in one step, if its hook and mode stay.
///
/// # Errors
/// If the kernel or driver refuses.
pub async fn attach(
    net: &Net,
    programs: &mut impl Programs,
    link: &Link,
    dir: &Path,
    mode: Mode,
    before: Option<&Attached>,
) -> Result<Attached> {
    let Some(before) = before else {
        return attach_anew(net, programs, link, dir, mode).await;
    };
    let same_hook = mode.tcx || matches!(before.tc, Tc::Clsact { .. });
    if mode.xdp.is_none_or(|xdp| xdp == before.xdp) && same_hook {
        match replace(programs, link, dir, before) {
            Ok(()) => {
                return Ok(Attached {
                    name: link.name.clone(),
                    ..before.clone()
                });
            }
            // Somebody has removed what was there.
            Err(error) => debug!(
                interface = link.name,
                "{}: attaching anew: {error:#}", link.name
            ),
        }
    }
    detach(net, before, dir).await?;
    attach_anew(net, programs, link, dir, mode).await
}

/// Replaces the programs that are attached.
fn replace(programs: &mut impl Programs, link: &Link, dir: &Path, before: &Attached) -> Result<()> {
    let pinned = |at| Ok::<_, anyhow::Error>(FdLink::from(PinnedLink::from_pin(at)?));
    let ingress = programs.ingress()?;
    let held = pinned(pins::xdp_link(dir, link.index))?;
    let id = ingress.attach_to_link(held.try_into()?)?;
    // Its pin keeps it.
    drop(ingress.take_link(id)?);
    let egress = programs.egress()?;
    match before.tc {
        Tc::Tcx => {
            let held = pinned(pins::tcx_link(dir, link.index))?;
            let id = egress.attach_to_link(held.try_into()?)?;
            drop(egress.take_link(id)?);
        }
        Tc::Clsact {
            priority, handle, ..
        } => {
            let filter = filter(&link.name, priority, handle)?;
            let id = egress.attach_to_link(filter)?;
            // Dropping it would detach.
            std::mem::forget(egress.take_link(id)?);
        }
    }
    Ok(())
}

/// Attaches the programs of an earlier agent again where they were, by its pins in `dir`, and detaches those that have taken
/// their place or are elsewhere. Returns the interfaces that have the earlier programs.
///
/// # Errors
/// If its pins cannot be opened, or the interfaces cannot be listed.
pub async fn restore(
    net: &Net,
    earlier: &[Attached],
    now: &[Attached],
    dir: &Path,
) -> Result<Vec<Attached>> {
    let mut programs = pins::Pinned::open(dir)?;
    let mut restored = Vec::new();
    for link in net.links().await? {
        let on_it = |attached: &&Attached| attached.index == link.index;
        let present = now.iter().find(on_it);
        let result = match (earlier.iter().find(on_it), present) {
            (Some(known), _) => {
                let mode = known.into();
                attach(net, &mut programs, &link, dir, mode, present)
                    .await
                    .map(|attached| restored.push(attached))
            }
            (None, Some(new)) => detach(net, new, dir).await,
            (None, None) => Ok(()),
        };
        if let Err(error) = result {
            warn!("{error:#}");
        }
    }
    Ok(restored)
}

/// Detaches the programs of an earlier agent from an interface.
///
/// # Errors
/// If the kernel does not let go.
pub async fn detach(net: &Net, before: &Attached, dir: &Path) -> Result<()> {
    let mut held = held(net, dir).await?;
    held.retain(|(index, _)| *index == before.index);
    pins::remove_one(&pins::xdp_link(dir, before.index))?;
    pins::remove_one(&pins::tcx_link(dir, before.index))?;
    if let Err(error) = remove_clsact(net, before).await {
        warn!("{error:#}");
    }
    wait_until_off(net, &held).await
}

/// Detaches the programs of an earlier agent from interfaces that its record does not name: the agent was killed before it
/// wrote them there.
///
/// # Errors
/// If the kernel does not let go.
pub async fn detach_unknown(net: &Net, known: &[Attached], dir: &Path) -> Result<()> {
    let is_unknown = |index| known.iter().all(|known| known.index != index);
    let mut held = held(net, dir).await?;
    held.retain(|(index, _)| is_unknown(*index));
    pins::remove_links(dir, is_unknown)?;
    wait_until_off(net, &held).await
}

async fn attach_anew(
    net: &Net,
    programs: &mut impl Programs,
    link: &Link,
    dir: &Path,
    mode: Mode,
) -> Result<Attached> {
    let xdp = attach_xdp(programs.ingress()?, link, dir, mode.xdp)?;
    let tc = match mode.tcx.then(|| attach_tcx(programs.egress()?, link, dir)) {
        Some(Err(error)) if is_unknown(&error) => {
            debug!("this kernel has no tcx: {error:#}");
            attach_clsact(net, programs.egress()?, link).await
        }
        Some(attached) => attached,
        None => attach_clsact(net, programs.egress()?, link).await,
    };
    if tc.is_err() {
        pins::remove_one(&pins::xdp_link(dir, link.index))?;
    }
    Ok(Attached {
        name: link.name.clone(),
        index: link.index,
        xdp,
        tc: tc.with_context(|| format!("cannot attach to egress of {}", link.name))?,
    })
}

fn attach_xdp(
    program: &mut Xdp,
    link: &Link,
    dir: &Path,
    mode: Option<XdpMode>,
) -> Result<XdpMode> {
    let name = &link.name;
    let first = match mode {
        Some(XdpMode::Generic) => XdpMode::Generic,
        Some(XdpMode::Native) | None => XdpMode::Native,
    };
    let flags = match first {
        XdpMode::Native => XdpFlags::Driver,
        XdpMode::Generic => XdpFlags::Skb,
    };
    let (id, mode) = match program.attach_to_if_index(link.index, flags) {
        Ok(id) => (id, first),
        Err(error) if mode.is_some() => {
            return Err(error).with_context(|| format!("cannot attach {first} XDP to {name}"));
        }
        Err(error) => {
            let why = errno(&error);
            match why {
                Some(Errno::EBUSY | Errno::EEXIST) => {
                    bail!(
                        "another XDP program took {name} this very moment; see `bpftool net show`"
                    )
                }
                Some(
                    Errno::EPERM | Errno::ENODEV | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM,
                ) => {
                    return Err(error).with_context(|| format!("cannot attach XDP to {name}"));
                }
                // The driver has no XDP, or not with this MTU or these queues.
                Some(Errno::EOPNOTSUPP) => {
                    note(&format!(
                        "{name} has no native XDP: using generic mode, slower"
                    ));
                }
                _ => note(&format!(
                    "{name} has no native XDP as it is set up (its driver says {}; \
                     a large MTU is a common cause): using generic mode, slower",
                    why.map_or_else(|| error.to_string(), |errno| format!("{errno:?}"))
                )),
            }
            let id = program
                .attach_to_if_index(link.index, XdpFlags::Skb)
                .with_context(|| format!("cannot attach XDP to {name}, in generic mode either"))?;
            (id, XdpMode::Generic)
        }
    };
    // aya falls back to an attachment by netlink, which has no link to pin.
    let fd_link = FdLink::try_from(program.take_link(id)?)
        .map_err(|_| anyhow!("the kernel gave no link for XDP on {name}"))?;
    pin(fd_link, &pins::xdp_link(dir, link.index))?;
    Ok(mode)
}

fn attach_tcx(program: &mut SchedClassifier, link: &Link, dir: &Path) -> Result<Tc> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(&link.name, TcAttachType::Egress, options)?;
    let fd_link = FdLink::try_from(program.take_link(id)?)?;
    pin(fd_link, &pins::tcx_link(dir, link.index))?;
    Ok(Tc::Tcx)
}

/// Pins a link. The pin alone keeps it from here on.
fn pin(link: FdLink, at: &Path) -> Result<()> {
    link.pin(at)
        .with_context(|| format!("cannot pin a link at {}", at.display()))?;
    Ok(())
}

async fn attach_clsact(net: &Net, program: &mut SchedClassifier, link: &Link) -> Result<Tc> {
    let made = match tc::qdisc_add_clsact(&link.name) {
        Ok(()) => true,
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {
            false
        }
        Err(error) => return Err(error).context("cannot add the clsact qdisc"),
    };
    let filter = attach_filter(program, link, made);
    if made && filter.is_err() {
        net.delete_clsact(link.index).await?;
    }
    filter
}

fn attach_filter(program: &mut SchedClassifier, link: &Link, made: bool) -> Result<Tc> {
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let id = program.attach_with_options(&link.name, TcAttachType::Egress, options)?;
    let filter = program.take_link(id)?;
    let tc = Tc::Clsact {
        priority: filter.priority()?,
        handle: filter.handle()?.into(),
        made,
    };
    // Dropping it would detach. The agent's record names the filter from here on.
    std::mem::forget(filter);
    Ok(tc)
}

/// Removes all that an agent put in place: filters, qdiscs, links, pins.
///
/// # Errors
/// If pins could not be removed, or the kernel does not let go.
pub async fn remove(net: &Net, interfaces: &[Attached], dir: &Path) -> Result<bool> {
    let held = held(net, dir).await?;
    // Links hold what is attached, and go with their pins.
    let removed = pins::remove(dir);
    for interface in interfaces {
        // The filter may have been removed already.
        if let Err(error) = remove_clsact(net, interface).await {
            warn!("{error:#}");
        }
    }
    wait_until_off(net, &held).await?;
    removed
}

/// Returns the interfaces whose XDP program is held by a link in `dir`, by their index, with the program's id. After a failure,
/// it may be another program than the pinned one.
async fn held(net: &Net, dir: &Path) -> Result<Vec<(u32, u32)>> {
    let links = net.links().await?;
    let is_held = |link: &&Link| pins::xdp_link(dir, link.index).exists();
    Ok(links
        .iter()
        .filter(is_held)
        .filter_map(|link| Some((link.index, link.xdp?)))
        .collect())
}

/// Waits until none of the interfaces has its XDP program any more: the kernel ends a link a little after its last reference
/// has gone.
async fn wait_until_off(net: &Net, held: &[(u32, u32)]) -> Result<()> {
    const STEP: Duration = Duration::from_millis(5);
    // It does so in a work queue, which may be slow on a busy host.
    const STEPS: usize = 1000;
    if held.is_empty() {
        return Ok(());
    }
    for _ in 0..STEPS {
        let links = net.links().await?;
        let has_it = |link: &Link| {
            link.xdp
                .is_some_and(|program| held.contains(&(link.index, program)))
        };
        if !links.iter().any(has_it) {
            return Ok(());
        }
        tokio::time::sleep(STEP).await;
    }
    bail!("the kernel does not let go of an XDP program; see `bpftool net show`")
}

async fn remove_clsact(net: &Net, interface: &Attached) -> Result<()> {
    let Tc::Clsact {
        priority,
        handle,
        made,
    } = interface.tc
    else {
        return Ok(());
    };
    // The interface may be gone, or have another name.
    let links = net.links().await?;
    let Some(link) = links.iter().find(|link| link.index == interface.index) else {
        return Ok(());
    };
    let detached = filter(&link.name, priority, handle)?
        .detach()
        .with_context(|| format!("cannot remove the egress filter of {}", link.name));
    if made {
        net.delete_clsact(link.index).await
    } else {
        detached
    }
}

/// Returns the egress filter of an interface that has this priority and handle.
fn filter(name: &str, priority: u16, handle: u32) -> Result<SchedClassifierLink> {
    let handle = TcHandle::from(handle);
    Ok(SchedClassifierLink::attached(
        name,
        TcAttachType::Egress,
        priority,
        handle,
        None,
    )?)
}

/// Whether the kernel does not know the kind of attachment.
fn is_unknown(error: &anyhow::Error) -> bool {
    error.downcast_ref().and_then(errno) == Some(Errno::EINVAL)
}

fn errno(error: &ProgramError) -> Option<Errno> {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    code.map(Errno::from_raw)
}
