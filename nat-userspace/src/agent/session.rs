//! The data path of this network namespace, as the command line reaches it: by its pins.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail};
use aya::maps::MapData;

use crate::{
    agent::record::AgentRecord,
    host::{
        namespaces::{network_inode, path_of_process},
        terminal::note,
    },
    kernel::{
        layout::Foreign,
        pins,
        tables::{self, Table, Tables},
    },
};

/// Error of a command that needs an agent.
#[derive(Debug, thiserror::Error)]
#[error(
    "no agent is running in this network namespace; start one with `sipnat run --iface INTERFACE`"
)]
pub struct NoAgent;

/// Error of a command that comes while the agent, whose pid this is, puts its data path in place or removes it.
#[derive(Debug, thiserror::Error)]
#[error("the agent (pid {0}) is just starting or ending")]
struct Unsettled(u32);

/// A data path that is in place, and its agent. A command that goes on for long calls [`Session::refresh`].
pub struct Session {
    /// The agent; it may have ended and left all in place.
    pub agent: AgentRecord,
    /// Directory of its pins, as seen from here.
    pub pins: PathBuf,
    /// Its maps.
    pub tables: Tables,
    /// Time since which an agent starts or ends, and these are what was there before it; none: they are in force.
    pub outdated: Option<Instant>,
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
            return Err(Unsettled(agent.pid).into());
        }
        if !there {
            return Err(NoAgent.into());
        }
        let tables = Tables::open(&pins).map_err(|error| {
            if alive && error.downcast_ref().is_some_and(Foreign::only_missing) {
                return Unsettled(agent.pid).into();
            }
            error
        })?;
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
            outdated: None,
        })
    }

    /// Opens the data path again if an agent has put another in place since, or none is there any more. While an agent starts
    /// or ends, the earlier one serves, and is [outdated](Self::outdated).
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn refresh(&mut self) -> Result<()> {
        let is_pinned = |table: &Table<'_>| {
            let pinned = tables::open_pin(&self.pins, table.name);
            let id = |map: &MapData| map.info().map(|info| info.id()).ok();
            matches!(pinned, Ok(Ok(pinned)) if id(&pinned) == id(table.map))
        };
        if self.tables.maps().iter().all(is_pinned) {
            self.outdated = None;
            return Ok(());
        }
        match Self::open() {
            Ok(session) => *self = session,
            Err(error) if error.is::<Unsettled>() => {
                self.outdated.get_or_insert_with(Instant::now);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
