//! One agent for each network namespace: its claim, and the removal of what an agent left.

use std::path::Path;

use anyhow::{Result, ensure};
use log::info;

use crate::{
    agent::record::{self, AgentRecord},
    checks::preflight,
    host::{
        namespaces::network_inode,
        net::{Link, Net},
    },
    kernel::{attach, layout::Foreign, pins, tables::Tables},
};

/// Makes this process the agent of its network namespace, and writes its record. Removes first what a dead agent left.
pub(super) async fn claim(net: &Net, links: &[Link], ports: &[u16]) -> Result<AgentRecord> {
    preflight::writable(
        Path::new(record::DIR),
        Path::new("/run"),
        "RuntimeDirectory=sipnat in its unit",
    )?;
    let _lock = record::lock()?;
    if let Some(other) = AgentRecord::find()? {
        ensure!(!other.is_alive(), already_running(&other, links));
    }
    pins::ensure_bpffs()?;
    preflight::writable(
        &pins::parent(),
        Path::new(pins::BPFFS),
        "CAP_DAC_OVERRIDE for sipnat",
    )?;
    let record = AgentRecord::new(pins::dir(network_inode()?), ports)?;
    replace_dead(net, &record.pins).await?;
    for link in net.links().await? {
        if links.iter().any(|ours| ours.index == link.index) {
            preflight::xdp_is_free(&link)?;
        }
    }
    // Under the lock: another agent that ends removes the parent directory if it is empty.
    pins::make(&record.pins)?;
    record.write()?;
    Ok(record)
}

/// Removes all that this agent put in place.
pub(super) async fn remove(net: &Net, record: &AgentRecord) -> Result<()> {
    let _lock = record::lock()?;
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

/// Removes what an agent left that ended with `--keep` or was killed, if it is sipnat's.
async fn replace_dead(net: &Net, dir: &Path) -> Result<()> {
    if dir.exists() {
        match Tables::open(dir) {
            Ok(_) => {}
            // The agent was interrupted while it pinned or removed them.
            Err(error) if error.downcast_ref().is_some_and(Foreign::only_missing) => {}
            Err(error) => return Err(error),
        }
        info!("replacing what an earlier agent left in {}", dir.display());
    }
    let interfaces = AgentRecord::find()?.map(|old| old.interfaces);
    attach::remove(net, &interfaces.unwrap_or_default(), dir).await?;
    Ok(())
}
