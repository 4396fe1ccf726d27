//! `sipnat status`: the agent, its programs, how full its tables are, and warnings.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use clap::Args;
use nat_common::{
    abi::{Config, NO_PBX, Policy, stun},
    endpoint::Endpoint,
    tables::buckets,
};
use serde::Serialize;

use crate::{
    agent::{
        record::Upgrade,
        session::{NoAgent, Session},
    },
    checks::{
        full_tables,
        interfaces::{self, InterfaceStatus},
        loops, media_warnings, register_warnings, restore_warnings, stun_warnings,
        warnings::{self, Warning},
    },
    host::{net::Net, prefix::Prefix},
    kernel::{attach::Attached, loops::Loops, pins, rules, streams},
    view::{
        fill::{self, Fill},
        listing::Listing,
        output,
        page::Summary,
    },
};

/// Arguments of `sipnat status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    /// Prints the status.
    ///
    /// # Errors
    /// [`NoAgent`] if no agent runs, or if something cannot be read.
    pub async fn run(self) -> Result<()> {
        let session = Session::open()?;
        let status = Status::read(&session).await?;
        if self.json {
            output::json(&status)?;
        } else {
            output::print(&status.render(&session))?;
        }
        if status.running {
            Ok(())
        } else {
            Err(NoAgent.into())
        }
    }
}

#[derive(Serialize)]
struct Status {
    version: String,
    running: bool,
    pid: u32,
    uptime_seconds: u64,
    interfaces: Vec<InterfaceStatus>,
    ports: Vec<u16>,
    /// Addresses of PBXs behind this host, if any are named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pbxs: Vec<IpAddr>,
    policy: &'static str,
    /// Set if nothing is redirected.
    shadow: bool,
    /// Answers to STUN, if there are any.
    stun: Option<StunStatus>,
    /// Local addresses whose streams are looked after; none if media are off.
    media: Option<Vec<IpAddr>>,
    /// Empty if this user may not ask for them.
    programs: Vec<Program>,
    /// Numbers of bindings, as their list counts them.
    bindings: Summary,
    tables: Vec<Fill>,
    /// Memory of all maps.
    memory_bytes: u64,
    pins: String,
    /// What the agent has taken over from a version with another layout, if it has.
    upgrade: Option<Upgrade>,
    warnings: Vec<Warning>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct StunStatus {
    ports: Vec<u16>,
    /// Answers to one address in a second; none: no limit.
    rate: Option<u64>,
    /// Answers to one address at once.
    burst: Option<u64>,
    /// Answers to all addresses together in a second; none: no limit.
    total_rate: Option<u64>,
    /// Set if answers name the software.
    software: bool,
}

impl StunStatus {
    fn from_config(config: &Config) -> Option<Self> {
        let port = u16::try_from(config.stun_port).unwrap_or_default();
        let limit = buckets::limit(&config.stun_rate);
        (config.stun & stun::ANSWER != 0).then(|| Self {
            ports: used(config.ports.into_iter().chain([port])),
            rate: limit.map(|(rate, _)| rate),
            burst: limit.map(|(_, burst)| burst),
            total_rate: buckets::total_limit(&config.stun_total),
            software: config.stun & stun::SOFTWARE != 0,
        })
    }

    fn render(&self) -> String {
        let one = self.rate.zip(self.burst);
        let one =
            one.map(|(rate, burst)| format!("{rate} a second to one address, {burst} at once"));
        let all = self
            .total_rate
            .map(|rate| format!("{rate} a second to all"));
        let limits: Vec<String> = one.into_iter().chain(all).collect();
        let limits = if limits.is_empty() {
            "without limit".into()
        } else {
            limits.join("; ")
        };
        format!("on {}: {limits}", joined(&self.ports))
    }
}

/// Returns the addresses of PBXs that the settings name.
fn pbxs(config: &Config) -> Vec<IpAddr> {
    if config.only_pbxs == 0 {
        return Vec::new();
    }
    let named = config.pbxs.iter().filter(|addr| **addr != NO_PBX);
    named
        .map(|addr| {
            let endpoint = Endpoint {
                addr: *addr,
                ..Endpoint::default()
            };
            SocketAddr::from(endpoint).ip()
        })
        .collect()
}

/// Returns the ports that are not 0.
fn used(ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
    ports.into_iter().filter(|port| *port != 0).collect()
}

fn joined(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// Tells of an upgrade in a line.
fn upgraded(upgrade: &Upgrade) -> String {
    let bindings = match (upgrade.converted, upgrade.refused) {
        (None, _) => "its bindings go on in place".into(),
        (Some(converted), 0) => format!("{converted} bindings converted"),
        (Some(converted), refused) => {
            format!("{converted} bindings converted, no room for {refused}")
        }
    };
    let emptied = if upgrade.emptied.is_empty() {
        String::new()
    } else {
        format!("; began empty: {}", upgrade.emptied.join(", "))
    };
    format!(
        "upgraded   from sipnat {} with layout {}: {bindings}{emptied}",
        upgrade.from, upgrade.layout
    )
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    id: u32,
    /// `may_goto` or `bpf_loop`; none if it has no loops.
    loops: Option<&'static str>,
    /// Number of instructions that the verifier walked through.
    verified_instructions: Option<u32>,
    /// Size of the machine code.
    jited_bytes: u32,
}

/// Number of warnings shown to people.
const WARNINGS: usize = 5;

impl Status {
    async fn read(session: &Session) -> Result<Self> {
        let Session {
            agent,
            pins,
            tables,
            ..
        } = session;
        let default = rules::read(&tables.policy)?
            .get(&Prefix::Default)
            .map_or(0, |rule| rule.choice);
        let config = tables.config()?;
        let listing = Listing::read(tables)?;
        let net = Net::open()?;
        let links = net.links().await?;
        let programs = if interfaces::may_ask(pins) {
            pins::programs(pins)?
        } else {
            Vec::new()
        };
        let ours = match &programs[..] {
            [(_, ingress), (_, egress), ..] => Some([ingress.id(), egress.id()]),
            _ => None,
        };
        let interfaces =
            interfaces::find(&net, &links, &agent.interfaces, &agent.missing, ours).await?;
        let mut warnings = interfaces::warnings(&interfaces, &links, &config, agent.is_alive());
        let attached = interfaces.iter().filter_map(InterfaceStatus::attached);
        let attached: Vec<Attached> = attached.cloned().collect();
        if config.stun & stun::ANSWER != 0 {
            warnings.extend(stun_warnings::find(&attached, &links));
        }
        let restore = restore_warnings::find(&net, &attached, tables).await?;
        let attached = attached.iter().map(|interface| interface.index);
        let fills = fill::read(tables, &listing.used)?;
        warnings.extend(full_tables::find(&fills));
        warnings.extend(loops::find(agent.refused_loops.as_deref()));
        let has_media = pins::has_media(pins);
        let [of_media, of_streams] = if has_media {
            media_warnings::find(tables)?
        } else {
            Default::default()
        };
        warnings.extend(of_media);
        warnings.extend(restore);
        let mut registrars = register_warnings::find(tables)?.into_iter();
        // People see the first few. One of these stands before those of terminals, of which there may be many. The
        // others, which a stranger can cause, stand behind them.
        warnings.extend(registrars.next());
        warnings
            .extend(warnings::find(&net, &links, attached, listing.rows(), &tables.policy).await?);
        warnings.extend(of_streams);
        warnings.extend(registrars);
        let programs = programs.iter().map(|(name, info)| {
            let form = Loops::of(info.name_as_str().unwrap_or_default()).name();
            Program {
                name,
                id: info.id(),
                loops: (!name.starts_with("media_")).then_some(form),
                verified_instructions: info.verified_instruction_count(),
                jited_bytes: info.size_jitted(),
            }
        });
        Ok(Self {
            version: agent.version.clone(),
            running: agent.is_alive(),
            pid: agent.pid,
            uptime_seconds: agent.uptime().as_secs(),
            interfaces,
            pbxs: pbxs(&config),
            ports: used(config.ports),
            policy: Policy::from(default).name(),
            shadow: config.shadow != 0,
            stun: StunStatus::from_config(&config),
            media: has_media
                .then(|| {
                    tables
                        .media_config()
                        .map(|config| streams::addresses(&config))
                })
                .transpose()?,
            programs: programs.collect(),
            bindings: Summary::of(&listing),
            tables: fills,
            memory_bytes: tables.memory()?,
            pins: pins.display().to_string(),
            upgrade: agent.upgrade.clone(),
            warnings,
        })
    }

    /// Names the interfaces that have the programs.
    fn on(&self) -> String {
        let attached: Vec<_> = self
            .interfaces
            .iter()
            .filter_map(InterfaceStatus::attached)
            .collect();
        if attached.is_empty() {
            return "no interface".into();
        }
        joined(&attached)
    }

    fn render(&self, session: &Session) -> String {
        let up = output::duration(session.agent.uptime());
        let mut lines = vec![
            if self.running {
                format!("sipnat {}, pid {}, up {up}", self.version, self.pid)
            } else {
                format!("sipnat {}, not running, started {up} ago", self.version)
            },
            format!("on         {}", self.on()),
            format!("ports      {}", joined(&self.ports)),
            format!("policy     {} by default", self.policy),
            format!(
                "stun       {}",
                self.stun
                    .as_ref()
                    .map_or("not answered".into(), StunStatus::render)
            ),
            match &self.media {
                None => "media      off".into(),
                Some(addresses) if addresses.is_empty() => "media      on, for no address".into(),
                Some(addresses) => format!("media      on, for {}", joined(addresses)),
            },
            format!("pins       {}", self.pins),
        ];
        lines.extend(self.upgrade.as_ref().map(upgraded));
        if !self.pbxs.is_empty() {
            lines.insert(3, format!("pbx        {}", joined(&self.pbxs)));
        }
        if self.shadow {
            lines.insert(1, "shadow: nothing is redirected".into());
        }
        if self.programs.is_empty() {
            lines.push("programs   not checked: this user may not ask the kernel for them".into());
        }
        for program in &self.programs {
            let verified = program
                .verified_instructions
                .map_or_else(String::new, |n| format!(", {n} instructions verified"));
            let form = program.loops;
            let form = form.map_or_else(String::new, |form| format!(", loops by {form}"));
            lines.push(format!(
                "{:<10} program {}{verified}, {} bytes of machine code{form}",
                program.name, program.id, program.jited_bytes
            ));
        }
        lines.push(format!("bindings   {}", self.bindings));
        for table in &self.tables {
            lines.push(format!(
                "{:<10} {} of {} entries",
                table.name, table.used, table.size
            ));
        }
        lines.push(format!(
            "memory     {} MiB of tables",
            self.memory_bytes.div_ceil(1 << 20)
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_stun_is_answered_is_told_as_it_was_asked_for() {
        let mut config = Config {
            ports: [5060, 5080, 0, 0, 0, 0, 0, 0],
            ..Config::default()
        };
        assert_eq!(StunStatus::from_config(&config), None);
        config.stun = stun::ANSWER;
        config.stun_rate = buckets::rate(20, 50);
        let text = |config: &Config| StunStatus::from_config(config).unwrap().render();
        assert_eq!(
            text(&config),
            "on 5060, 5080: 20 a second to one address, 50 at once"
        );
        config.stun_total = buckets::total_rate(20_000);
        assert_eq!(
            text(&config),
            "on 5060, 5080: 20 a second to one address, 50 at once; 20000 a second to all"
        );
        config.stun_rate = buckets::rate(0, 50);
        assert_eq!(text(&config), "on 5060, 5080: 20000 a second to all");
        config.stun_port = 3478;
        config.stun_total = buckets::total_rate(0);
        assert_eq!(text(&config), "on 5060, 5080, 3478: without limit");
    }
}
