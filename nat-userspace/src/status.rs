//! `sipnat status`: the agent, where it is attached, and how full its tables are.

use anyhow::{Context as _, Result};
use aya::{
    maps::{IterableMap as _, MapData},
    programs::ProgramInfo,
};
use nat_common::abi::{Policy, map};
use serde::Serialize;

use crate::{
    listing,
    loader::{EGRESS, INGRESS, Loops},
    net::Net,
    output, policy,
    prefix::Prefix,
    session::Session,
    state::Attached,
    tables::Tables,
    warnings::{self, Warning},
};

#[derive(Serialize)]
struct Status {
    version: String,
    running: bool,
    pid: u32,
    uptime_seconds: u64,
    interfaces: Vec<Attached>,
    ports: Vec<u16>,
    policy: &'static str,
    /// Nothing is redirected.
    shadow: bool,
    programs: Vec<Program>,
    tables: Vec<Fill>,
    pins: String,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    id: u32,
    /// `may_goto` or `bpf_loop`.
    loops: &'static str,
    /// Instructions that the verifier walked through.
    verified_instructions: Option<u32>,
    /// Bytes of machine code.
    jited_bytes: u32,
}

#[derive(Serialize)]
struct Fill {
    name: &'static str,
    used: usize,
    size: u64,
}

/// Warnings shown to people.
const WARNINGS: usize = 5;

/// Prints it.
///
/// # Errors
/// If something of it cannot be read.
pub async fn show(session: &Session, json: bool) -> Result<()> {
    let status = Status::read(session).await?;
    if json {
        output::json(&status)
    } else {
        output::print(&status.render(session))
    }
}

impl Status {
    async fn read(session: &Session) -> Result<Self> {
        let Session {
            agent,
            pins,
            tables,
        } = session;
        let default = policy::rules(&tables.policy)?
            .get(&Prefix::Default)
            .map_or(0, |rule| rule.policy);
        let config = tables.config()?;
        let programs = [INGRESS, EGRESS].map(|name| {
            let info = ProgramInfo::from_pin(pins.join(name))
                .with_context(|| format!("cannot read program `{name}`"))?;
            Ok(Program {
                name,
                id: info.id(),
                loops: Loops::of(info.name_as_str().unwrap_or_default()).name(),
                verified_instructions: info.verified_instruction_count(),
                jited_bytes: info.size_jitted(),
            })
        });
        Ok(Self {
            version: agent.version.clone(),
            running: agent.is_alive(),
            pid: agent.pid,
            uptime_seconds: agent.uptime().as_secs(),
            interfaces: agent.interfaces.clone(),
            ports: config.ports.into_iter().filter(|port| *port != 0).collect(),
            policy: Policy::from_u8(default).name(),
            shadow: config.shadow != 0,
            programs: programs.into_iter().collect::<Result<_>>()?,
            tables: fill(tables)?,
            pins: pins.display().to_string(),
            warnings: warnings::find(&Net::open()?, session).await?,
        })
    }

    fn render(&self, session: &Session) -> String {
        let up = output::duration(session.agent.uptime());
        let list = |items: Vec<String>| items.join(", ");
        let mut lines = vec![
            if self.running {
                format!("sipnat {}, pid {}, up {up}", self.version, self.pid)
            } else {
                format!("sipnat {}, not running, started {up} ago", self.version)
            },
            format!(
                "on         {}",
                list(self.interfaces.iter().map(ToString::to_string).collect())
            ),
            format!(
                "ports      {}",
                list(self.ports.iter().map(ToString::to_string).collect())
            ),
            format!("policy     {} by default", self.policy),
            format!("pins       {}", self.pins),
        ];
        if self.shadow {
            lines.insert(1, "shadow: nothing is redirected".into());
        }
        for program in &self.programs {
            let verified = program
                .verified_instructions
                .map_or_else(String::new, |n| format!(", {n} instructions verified"));
            lines.push(format!(
                "{:<10} program {}{verified}, {} bytes of machine code, loops by {}",
                program.name, program.id, program.jited_bytes, program.loops
            ));
        }
        for table in &self.tables {
            lines.push(format!(
                "{:<10} {} of {}",
                table.name, table.used, table.size
            ));
        }
        for warning in self.warnings.iter().take(WARNINGS) {
            lines.push(format!("warning: {}", warning.text));
            if let Some(remedy) = &warning.remedy {
                lines.push(format!("  remedy: {remedy}"));
            }
        }
        if let Some(more @ 1..) = self.warnings.len().checked_sub(WARNINGS) {
            lines.push(format!(
                "warning: {more} more like these; `sipnat status --json` has all"
            ));
        }
        lines.join("\n")
    }
}

fn fill(tables: &Tables) -> Result<Vec<Fill>> {
    let size = |map: &MapData| Ok::<_, anyhow::Error>(u64::from(map.info()?.max_entries()));
    let dialogs = size(tables.dialogs.map())?;
    let contacts = size(tables.contacts.map())?;
    let mut fills = vec![
        Fill {
            name: map::DIALOGS,
            used: tables.dialogs.keys().take(dialogs as usize).count(),
            size: dialogs,
        },
        Fill {
            name: map::CONTACTS,
            used: tables.contacts.keys().take(contacts as usize).count(),
            size: contacts,
        },
    ];
    for (name, table) in [
        (map::INBOUND, &tables.inbound),
        (map::OUTBOUND, &tables.outbound),
        (map::PENDING, &tables.pending),
    ] {
        fills.push(Fill {
            name,
            used: listing::live(table)?,
            size: size(table.map())? * nat_common::abi::WAYS as u64,
        });
    }
    Ok(fills)
}
