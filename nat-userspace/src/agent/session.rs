//! The data path of this network namespace, as the command line reaches it: by its pins.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    agent::record::AgentRecord,
    host::{
        namespaces::{network_inode, path_of_process},
        terminal::note,
    },
    kernel::{pins, tables::Tables},
};

/// Error of a command that needs an agent.
#[derive(Debug, thiserror::Error)]
#[error(
    "no agent is running in this network namespace; start one with `sipnat run --iface INTERFACE`"
)]
pub struct NoAgent;

/// A data path that is in place, and its agent.
pub struct Session {
    /// The agent; it may have ended and left all in place.
    pub agent: AgentRecord,
    /// Directory of its pins, as seen from here.
    pub pins: PathBuf,
    /// Its maps.
    pub tables: Tables,
}

impl Session {
    /// Opens the data path of this network namespace.
    ///
    /// # Errors
    /// [`NoAgent`] if there is none, [`crate::kernel::layout::Foreign`] if it is another version's.
    pub fn open() -> Result<Self> {
        let Some(agent) = AgentRecord::find()? else {
            // /run was emptied, and the pins are left.
            let pins = pins::dir(network_inode()?);
            if pins.exists() {
                bail!(
                    "no agent is running in this network namespace, but {} is there; \
                     remove it with `sipnat detach`",
                    pins.display()
                );
            }
            return Err(NoAgent.into());
        };
        let pins = path_of_process(agent.pid, &agent.pins);
        let alive = agent.is_alive();
        // `Tables::open` explains it better if the directory cannot be read.
        let there = pins.try_exists().unwrap_or(true);
        let attached = !(agent.interfaces.is_empty() && agent.missing.is_empty());
        if alive && (!there || !attached) {
            bail!("the agent (pid {}) is just starting or ending", agent.pid);
        }
        if !there {
            return Err(NoAgent.into());
        }
        let tables = Tables::open(&pins)?;
        if !alive {
            note(&format!(
                "no agent is running; this is what {} in place on {}",
                if agent.kept {
                    "--keep left"
                } else {
                    "one that died left"
                },
                agent.interface_names()
            ));
        }
        Ok(Self {
            agent,
            pins,
            tables,
        })
    }
}
