//! `sipnat replay`: what sipnat would make of a capture.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use clap::Args;
use ipnet::IpNet;
use jiff::tz::TimeZone;
use nat_common::abi::MEDIA_EXTERNALS;

use crate::{
    commands::{
        options::{Deciding, Options},
        run::Usage,
    },
    config, replay,
    settings::{Settings, hosts},
    view::output,
};

/// Arguments of `sipnat replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Capture: pcap or pcapng, of Ethernet, Linux cooked (`tcpdump -i any`) or raw IP
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Address of the PBX in the capture, also with its SIP port; may be repeated [default: the one address that is an end
    /// of every SIP message, at a SIP port]
    ///
    /// Packets to it are those that arrive, and packets from it those that the PBX sends.
    #[arg(long = "pbx", value_name = "ADDRESS[:PORT]", value_parser = pbx)]
    pbxs: Vec<Pbx>,
    /// Subnet on the PBX's own link; may be repeated
    ///
    /// `sipnat run` redirects nothing to the subnets of its interface. A capture does not tell them.
    #[arg(long = "on-link", value_name = "PREFIX", value_parser = hosts)]
    on_link: Vec<IpNet>,
    /// Write what the wire would have carried to this file, as pcap
    #[arg(long, value_name = "OUT.pcap")]
    write: Option<PathBuf>,
    /// Configuration file of `sipnat run`, for the options that decide; those below override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    deciding: Deciding,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Address of a PBX, and its port if it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pbx(IpAddr, Option<u16>);

/// Parses an address, with or without port.
fn pbx(text: &str) -> Result<Pbx, &'static str> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return match socket.port() {
            0 => Err("a port is a number from 1 to 65535"),
            port => Ok(Pbx(socket.ip(), Some(port))),
        };
    }
    text.parse().map(|addr| Pbx(addr, None)).map_err(
        |_| "name an address such as 203.0.113.10, 203.0.113.10:5060 or [2001:db8::10]:5060",
    )
}

impl Replay {
    /// Replays the capture, and prints what came of it.
    ///
    /// # Errors
    /// If the capture is malformed, or the kernel refuses.
    pub fn run(self) -> Result<()> {
        let json = self.json;
        let report = self.replay()?.run()?;
        if json {
            output::json(&report)
        } else {
            output::print(&report.render(&TimeZone::system()))
        }
    }

    /// Reads the configuration file, and returns the replay that it and the flags make.
    fn replay(self) -> Result<replay::Replay> {
        let file = match &self.config {
            Some(file) => config::read(file)?,
            None => Options::default(),
        };
        let mut settings = Settings::default();
        file.fill(&mut settings);
        let option = self.deciding.of_media();
        let names_ports = self.deciding.has_port();
        self.deciding.fill(&mut settings);
        let of_pbxs = self.pbxs.iter().filter_map(|Pbx(_, port)| *port);
        let of_pbxs: Vec<u16> = of_pbxs.collect();
        if !of_pbxs.is_empty() {
            if !names_ports {
                settings.ports.clear();
            }
            settings.ports.extend(of_pbxs);
            settings.remove_repeated_ports();
        }
        if let Some(option) = option {
            let why = format!("--{option} has no effect without --media");
            ensure!(settings.media, Usage(why));
        }
        ensure!(
            settings.externals.len() <= MEDIA_EXTERNALS,
            Usage("there are more than four addresses of external".into())
        );
        // Answers to STUN decide nothing, and every packet of the capture is one of the PBX.
        settings.stun.answer = false;
        settings.shadow = false;
        settings.pbxs.clear();
        let mut pbxs: Vec<IpAddr> = self.pbxs.iter().map(|Pbx(addr, _)| *addr).collect();
        pbxs.sort_unstable();
        pbxs.dedup();
        Ok(replay::Replay {
            file: self.file,
            settings,
            pbxs,
            on_link: self.on_link,
            write: self.write,
        })
    }
}
