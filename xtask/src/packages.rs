//! Programs of the system. Missing ones are installed on Debian and Ubuntu.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{command, kernel};

/// Permission to install missing packages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Install {
    /// Install missing packages if possible.
    Missing,
    /// Only name missing packages.
    Never,
}

/// A program or file, and the Debian package that contains it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// Name of a program on PATH, or absolute path of a file.
    name: &'static str,
    package: &'static str,
    why: &'static str,
}

impl Program {
    pub(crate) const fn new(name: &'static str, package: &'static str, why: &'static str) -> Self {
        Self { name, package, why }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.name
    }
}

/// Programs that lab tests and demo run.
pub(crate) const LAB: [Program; 17] = [
    Program::new("ip", "iproute2", "makes the lab's network namespaces"),
    Program::new("tc", "iproute2", "shows what the agent attached"),
    Program::new("nft", "nftables", "is the lab's NAT router and its ISP"),
    Program::new("iptables", "iptables", "hands packets to the lab's ALG"),
    Program::new("ethtool", "ethtool", "switches checksum offload"),
    Program::new("strace", "strace", "has a system call of the agent fail"),
    Program::new("setpriv", "util-linux", "runs the agent with fewer rights"),
    Program::new("unshare", "util-linux", "gives Kamailio a host name"),
    Program::new("hostname", "hostname", "gives Kamailio a host name"),
    Program::new("sipp", "sip-tester", "plays the lab's phones and servers"),
    Program::new("kamailio", "kamailio", "is one of the lab's PBXs"),
    Program::new("baresip", "baresip-core", "is one of the lab's phones"),
    Program::new(
        "twinkle-console",
        "twinkle-console",
        "is a phone that uses STUN",
    ),
    Program::new("tmux", "tmux", "is a terminal for `sipnat top`"),
    Program::new("turnutils_stunclient", "coturn", "sends STUN requests"),
    Program::new("stun", "stun-client", "sends STUN requests of RFC 3489"),
    Program::new(
        "/usr/lib/python3/dist-packages/aioice/__init__.py",
        "python3-aioice",
        "sends STUN requests with a fingerprint",
    ),
];

/// Further programs of the interop tests.
pub(crate) const INTEROP: [Program; 3] = [
    Program::new("pip3", "python3-pip", "installs pjsua2, one of the phones"),
    Program::new("linphonec", "linphone-cli", "is one of the phones"),
    Program::new("prometheus", "prometheus", "scrapes the agent's metrics"),
];

/// Programs that the benchmarks run.
pub(crate) const BENCH: [Program; 5] = [
    Program::new("ip", "iproute2", "makes the network namespaces"),
    Program::new("nft", "nftables", "sets up the kernel's NAT and SIP ALG"),
    Program::new("taskset", "util-linux", "keeps a server on one core"),
    Program::new("turnserver", "coturn", "is the STUN server to compare with"),
    Program::new(
        "rtpengine",
        "rtpengine-daemon",
        "is the relay of media to compare with",
    ),
];

/// Ensures that all programs are installed. Names the missing ones first, then installs them if allowed and possible.
pub(crate) fn ensure(programs: &[Program], install: Install) -> Result<()> {
    let missing = missing(programs, |name| find(name).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    for Program { name, package, why } in &missing {
        eprintln!("missing: {name} of package {package}, which {why}");
    }
    let by_hand = command_line(&missing);
    if install == Install::Never {
        bail!("--no-install forbids to install them; as root: {by_hand}");
    }
    if !is_debian() {
        bail!("this is neither Debian nor Ubuntu: install the equivalent of `{by_hand}`");
    }
    if !kernel::is_root() {
        bail!("only root can install them: sudo {by_hand}");
    }
    eprintln!("installing: {by_hand}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", include_str!("apt-install.sh"), "sh"])
        .args(packages(&missing));
    let status = shell.status()?;
    if !status.success() {
        bail!("`{by_hand}` failed: {status}");
    }
    let missing = self::missing(&missing, |name| find(name).is_some());
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|program| program.name).collect();
        bail!("`{by_hand}` did not install {}", names.join(", "));
    }
    Ok(())
}

/// Command line that installs the packages of some programs.
pub(crate) fn command_line(programs: &[Program]) -> String {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--no-install-recommends"])
        .args(packages(programs));
    command::line(&apt)
}

/// Path of a program, if it is installed. A user's PATH often lacks /usr/sbin and /sbin, so they are searched too.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_file(candidate))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn missing(programs: &[Program], is_installed: impl Fn(&str) -> bool) -> Vec<Program> {
    let absent = programs
        .iter()
        .filter(|program| !is_installed(program.name));
    absent.copied().collect()
}

fn packages(programs: &[Program]) -> BTreeSet<&'static str> {
    programs.iter().map(|program| program.package).collect()
}

fn is_debian() -> bool {
    find("apt-get").is_some()
        && fs::read_to_string("/etc/os-release").is_ok_and(|text| is_debian_release(&text))
}

/// Whether this text of /etc/os-release is of Debian or of a distribution derived from it.
fn is_debian_release(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|names| names.trim_matches('"').split_whitespace())
        .any(|name| name == "debian" || name == "ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_packages_are_installed() {
        let missing = missing(&LAB, |name| !matches!(name, "sipp" | "nft"));
        assert_eq!(
            command_line(&missing),
            "apt-get install --no-install-recommends nftables sip-tester"
        );
        assert!(self::missing(&LAB, |_| true).is_empty());
    }

    #[test]
    fn a_package_is_named_once() {
        let twice = [LAB[0], LAB[0]];
        assert_eq!(packages(&twice).len(), 1);
    }

    #[test]
    fn programs_are_found_on_path_and_by_path() {
        assert!(find("sh").is_some());
        assert!(find("/bin/sh").is_some());
        assert!(find("no-such-program").is_none());
    }

    #[test]
    fn debian_and_its_derivatives_are_known() {
        assert!(is_debian_release("NAME=x\nID=debian\n"));
        assert!(is_debian_release(
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"
        ));
        assert!(!is_debian_release("ID=fedora\nVERSION_ID=42\n"));
        assert!(!is_debian_release("VARIANT_ID=debian\n"));
    }
}
