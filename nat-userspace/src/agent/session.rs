//! The data path of this network namespace, as the command line reaches it: by its pins.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    agent::record::{self, State},
    kernel::pins,
    kernel::tables::Tables,
};

/// There is no agent to ask.
#[derive(Debug, thiserror::Error)]
#[error(
    "no agent is running in this network namespace; start one with `sipnat run --iface INTERFACE`"
)]
pub struct NoAgent;

/// A data path that is in place, and whose it is.
pub struct Session {
    /// The agent; it may have ended and left all in place.
    pub agent: State,
    /// Its pins, as seen from here.
    pub pins: PathBuf,
    /// Its maps.
    pub tables: Tables,
}

impl Session {
    /// Opens the one of this network namespace.
    ///
    /// # Errors
    /// [`NoAgent`] if there is none, [`crate::kernel::tables::Foreign`] if it is another version's.
    pub fn open() -> Result<Self> {
        let Some(agent) = State::find()? else {
            // Pins without their state file: of an agent whose /run was emptied.
            let pins = pins::dir(record::netns()?);
            if pins.exists() {
                bail!(
                    "no agent is running in this network namespace, but {} is there; \
                     remove it with `sipnat detach`",
                    pins.display()
                );
            }
            return Err(NoAgent.into());
        };
        let pins = pins::seen_from_here(&agent);
        let alive = agent.is_alive();
        // One that cannot be looked into is reported better by `Tables`.
        let there = pins.try_exists().unwrap_or(true);
        if alive && (!there || agent.interfaces.is_empty()) {
            bail!("the agent (pid {}) is just starting or ending", agent.pid);
        }
        if !there {
            return Err(NoAgent.into());
        }
        let tables = Tables::open(&pins)?;
        if !alive {
            eprintln!(
                "sipnat: no agent is running; this is what {} in place on {}",
                if agent.kept {
                    "--keep left"
                } else {
                    "one that died left"
                },
                agent.interface_names()
            );
        }
        Ok(Self {
            agent,
            pins,
            tables,
        })
    }
}
