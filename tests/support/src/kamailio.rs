//! Kamailio, with a configuration without any help for NAT.

use std::{env, fs, net::SocketAddrV4, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};

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

/// Runs Kamailio with the files in `$1`. Kamailio resolves the name of its host before it answers anyone: give it one that
/// resolves without asking a DNS server, in a UTS namespace of its own.
const RUN: &str = "hostname localhost && exec kamailio -DD -E -M 4 -m \"$2\" -f \"$1/kamailio.cfg\" -Y \"$1\" -w \"$1\"";

/// Does so in root `$0`, in a mount namespace of its own.
const MOUNT_AND_RUN: &str = "mount --make-rprivate / \
    && mount --bind \"$1\" \"$0/mnt\" \
    && mount --rbind /dev \"$0/dev\" \
    && mount -t proc proc \"$0/proc\" \
    && : >>\"$0/etc/hosts\" && mount --bind \"$1/hosts\" \"$0/etc/hosts\" \
    && hostname localhost \
    && exec chroot \"$0\" kamailio -DD -E -M 4 -m \"$2\" -f /mnt/kamailio.cfg -Y /mnt -w /mnt";

/// Version of Kamailio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// That of this host: 5.6 on Debian 12.
    OfThisHost,
    /// That of Debian's suite sid, 6 or later, in a folder of its own.
    Sid,
}

impl Version {
    /// Returns the root of the Debian that has it; none for this host.
    fn root(self) -> Result<Option<PathBuf>> {
        const VARIABLE: &str = "SIPNAT_KAMAILIO_6";
        if self == Self::OfThisHost {
            return Ok(None);
        }
        let root = env::var_os(VARIABLE).with_context(|| {
            format!("{VARIABLE} names no folder with Kamailio: run `cargo xtask test interop`")
        })?;
        Ok(Some(root.into()))
    }
}

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
        Self::start_version(netns, Version::OfThisHost, record_route)
    }

    /// Starts this version on [`PBX`] in `netns`.
    pub fn start_version(
        netns: &Netns,
        version: Version,
        record_route: RecordRoute,
    ) -> Result<Self> {
        let record_route = match record_route {
            RecordRoute::Yes => "record_route();",
            RecordRoute::No => "",
        };
        let config = CONFIG.replace("RECORD_ROUTE", record_route);
        Self::with_version(netns, version, &config, 32)
    }

    /// Starts it with another configuration and this number of megabytes of shared memory. The configuration says
    /// `BASE` where its address and modules belong, and answers OPTIONS.
    pub fn with(netns: &Netns, config: &str, memory: u32) -> Result<Self> {
        Self::with_version(netns, Version::OfThisHost, config, memory)
    }

    /// Starts this version with another configuration, as [`Self::with`] does.
    pub fn with_version(
        netns: &Netns,
        version: Version,
        config: &str,
        memory: u32,
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let base = BASE.replace("LISTEN", &PBX.to_string());
        fs::write(
            dir.path().join("kamailio.cfg"),
            config.replace("BASE", &base),
        )?;
        fs::write(dir.path().join("hosts"), "127.0.0.1 localhost\n")?;
        let memory = memory.to_string();
        let root = version.root()?;
        // The mounts end with the process.
        let mut command = Command::new("unshare");
        match &root {
            None => command
                .args(["--uts", "sh", "-c", RUN, "kamailio"])
                .arg(dir.path()),
            Some(root) => command
                .args(["--mount", "--uts", "sh", "-c", MOUNT_AND_RUN])
                .arg(root)
                .arg(dir.path()),
        }
        .arg(&memory);
        let mut process = Process::spawn(netns, &mut command, dir)?;
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
