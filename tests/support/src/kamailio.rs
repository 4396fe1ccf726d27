//! Kamailio, with a configuration without any help for NAT.

use std::{fs, net::SocketAddrV4, process::Command, time::Duration};

use anyhow::Result;

use crate::{lab::PBX, netns::Netns, process::Process, sip::Message};

const START: Duration = Duration::from_secs(10);

/// Common part of every configuration, written for `BASE`.
const BASE: &str = r#"
log_stderror=yes
disable_tcp=yes
auto_aliases=no
listen=udp:LISTEN

loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"

modparam("usrloc", "db_mode", 0)
"#;

/// Registrar and proxy: no nathelper, no `force_rport`, no aliases.
const CONFIG: &str = r#"
debug=2
children=2
BASE
modparam("registrar", "default_expires", 60)

request_route {
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            t_relay();
        } else if (is_method("ACK") && t_check_trans()) {
            t_relay();
        } else if (uri != myself) {
            t_relay();
        } else if (!is_method("ACK")) {
            sl_send_reply("404", "Not Here");
        }
        exit;
    }
    t_check_trans();
    if (is_method("REGISTER")) {
        save("location");
        exit;
    }
    RECORD_ROUTE
    if (!lookup("location")) {
        sl_send_reply("404", "Not Found");
        exit;
    }
    t_relay();
}
"#;

/// Record-routing of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRoute {
    /// The proxy adds itself to the route set.
    Yes,
    /// The proxy stays out of the route set. Phones with it as outbound proxy still send all requests there, without
    /// a Route.
    No,
}

/// A running Kamailio.
#[derive(Debug)]
pub struct Kamailio(Process);

impl Kamailio {
    /// Starts it on [`PBX`] in `netns`.
    pub fn start(netns: &Netns, record_route: RecordRoute) -> Result<Self> {
        let record_route = match record_route {
            RecordRoute::Yes => "record_route();",
            RecordRoute::No => "",
        };
        Self::with(netns, &CONFIG.replace("RECORD_ROUTE", record_route), 32)
    }

    /// Starts it with another configuration and this number of megabytes of shared memory. The configuration says
    /// `BASE` where its address and modules belong, and answers OPTIONS.
    pub fn with(netns: &Netns, config: &str, memory: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("kamailio.cfg");
        let base = BASE.replace("LISTEN", &PBX.to_string());
        fs::write(&path, config.replace("BASE", &base))?;
        let mut process = Process::spawn(
            netns,
            // Kamailio resolves the name of its host before it answers anyone: give it one that resolves
            // without asking a DNS server, in a UTS namespace of its own.
            Command::new("unshare")
                .args([
                    "--uts",
                    "sh",
                    "-c",
                    "hostname localhost && exec kamailio \"$@\"",
                    "kamailio",
                ])
                .args(["-DD", "-E", "-M", "4", "-m", &memory.to_string(), "-f"])
                .arg(&path)
                .arg("-Y")
                .arg(dir.path())
                .arg("-w")
                .arg(dir.path()),
            dir,
        )?;
        let probe = netns.udp(SocketAddrV4::new(*PBX.ip(), 0))?;
        probe.set_read_timeout(Some(Duration::from_millis(20)))?;
        let options = Message::new(format!("OPTIONS sip:nobody@{} SIP/2.0", PBX.ip()))
            .with(
                "Via",
                format!("SIP/2.0/UDP {};branch=z9hG4bK-probe", probe.local_addr()?),
            )
            .with("From", "<sip:probe@localhost>;tag=1")
            .with("To", "<sip:nobody@localhost>")
            .with("Call-ID", "probe")
            .with("CSeq", "1 OPTIONS")
            .to_string();
        process.wait_until("answer to OPTIONS", START, |_| {
            let sent = probe.send_to(options.as_bytes(), PBX);
            sent.is_ok() && probe.recv(&mut [0; 2048]).is_ok()
        })?;
        Ok(Self(process))
    }

    /// Returns the id of the main process, the parent of the others.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        self.0.output()
    }
}
