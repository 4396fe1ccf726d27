//! One agent for each network namespace: its claim, and the removal of what an agent left.

use std::path::Path;

use anyhow::{Result, ensure};
use tracing::info;

use crate::{
    agent::record::{self, AgentRecord},
    checks::preflight,
    host::{
        namespaces::network_inode,
        net::{Link, Net},
        private::{self, Readers},
    },
    kernel::{attach, earlier::Earlier, layout::Foreign, load::Inputs, pins},
    settings::Settings,
};

/// Claim to be the agent of this network namespace.
pub(super) struct Claim {
    /// The record of this process.
    pub(super) record: AgentRecord,
    /// What an earlier agent left that ended with `--keep`, or was killed. It goes on working, and this agent takes it over.
    pub(super) left: Option<Left>,
}

/// What an earlier agent left.
pub(super) struct Left {
    /// Its maps.
    pub(super) maps: Earlier,
    /// Its record.
    pub(super) record: AgentRecord,
    /// What it wrote into the maps for its programs.
    pub(super) inputs: Inputs,
}

/// Makes this process the agent of its network namespace, and writes its record.
pub(super) async fn claim(
    net: &Net,
    links: &[Link],
    settings: &Settings,
    object: &[u8],
) -> Result<Claim> {
    preflight::writable(
        Path::new(record::DIR),
        Path::new("/run"),
        "RuntimeDirectory=sipnat and RuntimeDirectoryPreserve=yes in its unit",
    )?;
    let _lock = record::lock().await?;
    if let Some(other) = AgentRecord::find()? {
        ensure!(!other.is_alive(), already_running(&other, links));
    }
    pins::ensure_bpffs()?;
    preflight::writable(
        &pins::parent(),
        Path::new(pins::BPFFS),
        "CAP_DAC_OVERRIDE for sipnat",
    )?;
    let mut record = AgentRecord::new(
        pins::dir(network_inode()?),
        &settings.ports,
        settings.readers.map(Readers),
    )?;
    let left = find_left(net, &record.pins, object).await?;
    record.interfaces = left
        .as_ref()
        .map_or_else(Vec::new, |left| left.record.interfaces.clone());
    for link in net.links().await? {
        let is_wanted = links.iter().any(|ours| ours.index == link.index);
        let is_ours = record.interfaces.iter().any(|i| i.index == link.index)
            && pins::xdp_link(&record.pins, link.index).exists();
        if is_wanted && !is_ours {
            preflight::xdp_is_free(&link)?;
        }
    }
    // Under the lock: another agent that ends removes the parent directory if it is empty.
    private::make(&record.pins)?;
    if let Err(error) = record.write() {
        if left.is_none() {
            pins::remove(&record.pins)?;
        }
        return Err(error);
    }
    Ok(Claim { record, left })
}

/// Removes all that this agent put in place.
pub(super) async fn remove(net: &Net, record: &AgentRecord) -> Result<()> {
    let _lock = record::lock().await?;
    let removed = attach::remove(net, &record.interfaces, &record.pins).await;
    removed.and(record::remove().map(drop))
}

fn already_running(other: &AgentRecord, links: &[Link]) -> String {
    let pid = other.pid;
    let same = links
        .iter()
        .find(|link| other.interfaces.iter().any(|i| i.index == link.index));
    match same {
        Some(link) => format!("{} already has a sipnat agent (pid {pid})", link.name),
        None if !other.missing.is_empty() && other.interfaces.is_empty() => format!(
            "this network namespace already has a sipnat agent, which waits for {} (pid {pid})",
            other.missing.join(", ")
        ),
        None if other.interfaces.is_empty() => {
            format!("another sipnat agent is just starting in this network namespace (pid {pid})")
        }
        None => format!(
            "this network namespace already has a sipnat agent, on {} (pid {pid}); \
             one agent serves several interfaces: --iface {} --iface {}",
            other.interface_names(),
            other.interfaces[0].name,
            links.first().map_or("IFACE", |link| &link.name)
        ),
    }
}

/// Finds what an agent left that ended with `--keep` or was killed. Of one that was killed while it pinned or removed its maps,
/// the rest is removed, and so is what has no record: it does not say what is attached where.
async fn find_left(net: &Net, dir: &Path, object: &[u8]) -> Result<Option<Left>> {
    let record = AgentRecord::find()?;
    pins::finish(dir)?;
    if dir.exists() {
        match (Earlier::open(dir, object), &record) {
            (Ok(maps), Some(record)) => {
                attach::detach_unknown(net, &record.interfaces, dir).await?;
                info!(
                    path = %dir.display(),
                    "taking over what an earlier agent left in {}",
                    dir.display()
                );
                return Ok(Some(Left {
                    inputs: Inputs::read(&maps.tables)?,
                    maps,
                    record: record.clone(),
                }));
            }
            (Ok(_), None) => {}
            (Err(error), _) if error.downcast_ref().is_some_and(Foreign::only_missing) => {}
            (Err(error), _) => return Err(error),
        }
        info!(path = %dir.display(), "removing what an earlier agent left in {}", dir.display());
    }
    let interfaces = record.map_or_else(Vec::new, |record| record.interfaces);
    attach::remove(net, &interfaces, dir).await?;
    Ok(None)
}
