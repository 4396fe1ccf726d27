//! `sipnat status`: the agent, where it is attached, and how full its tables are.

use anyhow::{Context as _, Result};
use aya::{
    maps::{IterableMap as _, MapData},
    programs::ProgramInfo,
};
use nat_common::{
    abi::{Config, Policy, map, stun},
    tables::buckets,
};
use serde::Serialize;

use crate::{
    agent::record::Attached,
    agent::session::Session,
    checks::warnings::{self, Warning},
    host::net::Net,
    host::prefix::Prefix,
    kernel::load::{EGRESS, INGRESS, Loops},
    kernel::policy,
    kernel::tables::Tables,
    view::listing,
    view::output,
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
    /// How STUN is answered, if it is.
    stun: Option<Stun>,
    programs: Vec<Program>,
    tables: Vec<Fill>,
    pins: String,
    warnings: Vec<Warning>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Stun {
    ports: Vec<u16>,
    /// Answers a second to one address; none: there is no limit.
    rate: Option<u64>,
    /// Answers at once to one address.
    burst: Option<u64>,
    /// Whether answers say by which software.
    software: bool,
}

impl Stun {
    fn of(config: &Config) -> Option<Self> {
        let port = u16::try_from(config.stun_port).unwrap_or_default();
        let limit = buckets::limit(&config.stun_rate);
        (config.stun & stun::ANSWER != 0).then(|| Self {
            ports: used(config.ports.into_iter().chain([port])),
            rate: limit.map(|(rate, _)| rate),
            burst: limit.map(|(_, burst)| burst),
            software: config.stun & stun::SOFTWARE != 0,
        })
    }

    fn render(&self) -> String {
        let limit = match (self.rate, self.burst) {
            (Some(rate), Some(burst)) => format!("{rate} a second to one address, {burst} at once"),
            _ => "without limit".into(),
        };
        format!("on {}: {limit}", joined(&self.ports))
    }
}

/// Those that are ports.
fn used(ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
    ports.into_iter().filter(|port| *port != 0).collect()
}

fn joined(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
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
            ports: used(config.ports),
            policy: Policy::from_u8(default).name(),
            shadow: config.shadow != 0,
            stun: Stun::of(&config),
            programs: programs.into_iter().collect::<Result<_>>()?,
            tables: fill(tables)?,
            pins: pins.display().to_string(),
            warnings: warnings::find(&Net::open()?, session).await?,
        })
    }

    fn render(&self, session: &Session) -> String {
        let up = output::duration(session.agent.uptime());
        let mut lines = vec![
            if self.running {
                format!("sipnat {}, pid {}, up {up}", self.version, self.pid)
            } else {
                format!("sipnat {}, not running, started {up} ago", self.version)
            },
            format!("on         {}", joined(&self.interfaces)),
            format!("ports      {}", joined(&self.ports)),
            format!("policy     {} by default", self.policy),
            format!(
                "stun       {}",
                self.stun
                    .as_ref()
                    .map_or("not answered".into(), Stun::render)
            ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_stun_is_answered_is_told_as_it_was_asked_for() {
        let mut config = Config {
            ports: [5060, 5080, 0, 0, 0, 0, 0, 0],
            ..Config::default()
        };
        assert_eq!(Stun::of(&config), None);
        config.stun = stun::ANSWER;
        config.stun_rate = buckets::rate(20, 50);
        let text = |config: &Config| Stun::of(config).unwrap().render();
        assert_eq!(
            text(&config),
            "on 5060, 5080: 20 a second to one address, 50 at once"
        );
        config.stun_port = 3478;
        config.stun_rate = buckets::rate(0, 50);
        assert_eq!(text(&config), "on 5060, 5080, 3478: without limit");
    }
}
