//! Conditions for starting, checked before anything is changed. Each has its own message.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use caps::{CapSet, Capability};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

use crate::{host::net::Link, kernel::hooks::described, nearest::nearest};

/// The oldest kernel that sipnat supports.
const OLDEST: Kernel = Kernel(6, 1);

/// A kernel's version, major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

impl Kernel {
    /// Returns the version of the running kernel.
    ///
    /// # Errors
    /// If its release has no version in it.
    pub fn running() -> Result<Self> {
        let uname = nix::sys::utsname::uname()?;
        let release = uname.release().to_string_lossy();
        Self::parse(&release)
            .with_context(|| format!("cannot read the kernel's version `{release}`"))
    }

    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }

    /// Checks that sipnat supports it.
    ///
    /// # Errors
    /// If it is older.
    pub fn check(self) -> Result<()> {
        ensure!(
            self >= OLDEST,
            "this kernel is Linux {self}; sipnat needs {OLDEST} or later"
        );
        Ok(())
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Checks the capabilities that loading and attaching need.
///
/// # Errors
/// If this process lacks one; all missing are named.
pub fn capabilities() -> Result<()> {
    let effective = caps::read(None, CapSet::Effective).context("cannot read the capabilities")?;
    let missing = missing(|capability| effective.contains(&capability));
    ensure!(
        missing.is_empty(),
        "not permitted: run as root; this process lacks {}",
        missing.join(", ")
    );
    Ok(())
}

fn missing(has: impl Fn(Capability) -> bool) -> Vec<&'static str> {
    // Before 5.8 there was only CAP_SYS_ADMIN, and it still includes the two newer ones.
    let all = has(Capability::CAP_SYS_ADMIN);
    let mut missing = Vec::new();
    if !all && !has(Capability::CAP_BPF) {
        missing.push("CAP_BPF (or CAP_SYS_ADMIN)");
    }
    if !has(Capability::CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !all && !has(Capability::CAP_PERFMON) {
        missing.push("CAP_PERFMON (or CAP_SYS_ADMIN)");
    }
    missing
}

/// Checks that this process can write to `directory`, or make it where it is not there yet. `parent` is the directory that
/// the system has, and `unit` the setting of a systemd unit that helps.
///
/// # Errors
/// If it cannot; the error says what would help.
pub fn writable(directory: &Path, parent: &Path, unit: &str) -> Result<()> {
    let Err((at, error)) = access(directory) else {
        return Ok(());
    };
    let uid = nix::unistd::geteuid();
    let (at, directory, parent) = (at.display(), directory.display(), parent.display());
    bail!(
        "{at} is not writable for uid {uid} ({}): as root, `install -d -o {uid} {directory}` and `chmod o+x {parent}`, \
         or {unit}",
        error.desc()
    )
}

/// Finds the directory on the path to `directory` that keeps this process from writing to it, or from making it.
fn access(directory: &Path) -> Result<(), (&Path, Errno)> {
    // Not `eaccess`, for which glibc reads modes and owners only: a capability may allow more.
    let check = |path: &Path, mode| faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS);
    let mut at = directory;
    loop {
        match check(at, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT) => match at.parent() {
                Some(parent) => at = parent,
                None => return Err((at, Errno::ENOENT)),
            },
            Err(error) => {
                // A parent that may not be searched hides what is in it.
                let hidden = check(at, AccessFlags::F_OK).is_err();
                let at = at.parent().filter(|_| hidden).unwrap_or(at);
                return Err((at, error));
            }
        }
    }
}

/// Picks the interfaces called `names` out of `links`. Passes over one that is not there, if the agent may `wait` for it.
///
/// # Errors
/// If there is none of that name, or its packets have no Ethernet header.
pub fn interfaces(links: &[Link], names: &[String], wait: bool) -> Result<Vec<Link>> {
    let mut picked: Vec<Link> = Vec::new();
    for name in names {
        let Some(link) = links.iter().find(|link| link.name == *name) else {
            ensure!(wait, no_such_interface(links, name));
            continue;
        };
        is_ethernet(link)?;
        if !picked.contains(link) {
            picked.push(link.clone());
        }
    }
    Ok(picked)
}

/// Checks that packets of an interface have an Ethernet header.
///
/// # Errors
/// If they have none.
pub fn is_ethernet(link: &Link) -> Result<()> {
    ensure!(
        link.ethernet,
        "{} is not an Ethernet interface; sipnat reads Ethernet frames",
        link.name
    );
    Ok(())
}

fn no_such_interface(links: &[Link], name: &str) -> String {
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let hint = nearest(name, names.iter().copied())
        .map_or_else(String::new, |other| format!(" (did you mean {other}?)"));
    format!(
        "there is no interface {name}{hint}; there are {}; --wait waits for it",
        names.join(", ")
    )
}

/// Checks that an interface has no XDP program: its hook takes one.
///
/// # Errors
/// If there is one.
pub fn xdp_is_free(link: &Link) -> Result<()> {
    let Some(id) = link.xdp else { return Ok(()) };
    bail!(
        "{interface} already has another XDP program, {other}, and there is room for one; \
         stop what put it there, or remove it with `ip link set dev {interface} xdp off` \
         (`xdpgeneric off` if generic)",
        other = described(id),
        interface = link.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::net::LinkKind;

    fn link(name: &str) -> Link {
        Link {
            ethernet: name != "tun0",
            ..Link::ethernet(1, name, LinkKind::Other)
        }
    }

    #[test]
    fn releases_are_read() {
        for (release, kernel) in [
            ("6.18.44-fc-v657", Some(Kernel(6, 18))),
            ("6.1.0-28-cloud-amd64", Some(Kernel(6, 1))),
            ("5.15.0", Some(Kernel(5, 15))),
            ("7.0-rc1", Some(Kernel(7, 0))),
            ("6", None),
            ("linux", None),
        ] {
            assert_eq!(Kernel::parse(release), kernel, "{release}");
        }
    }

    #[test]
    fn old_kernels_are_refused() {
        assert!(Kernel(6, 1).check().is_ok());
        assert!(Kernel(7, 0).check().is_ok());
        let error = Kernel(5, 15).check().unwrap_err().to_string();
        assert_eq!(
            error,
            "this kernel is Linux 5.15; sipnat needs 6.1 or later"
        );
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(missing(|_| true), [""; 0]);
        assert_eq!(missing(|_| false).len(), 3);
        assert_eq!(
            missing(|capability| capability == Capability::CAP_SYS_ADMIN),
            ["CAP_NET_ADMIN"]
        );
    }

    #[test]
    fn a_wrong_name_brings_the_right_ones() {
        let links = [link("lo"), link("eth0"), link("eth1"), link("tun0")];
        let error = |name: &str| {
            let names = [name.to_owned()];
            interfaces(&links, &names, false).unwrap_err().to_string()
        };
        assert_eq!(
            error("eht0"),
            "there is no interface eht0 (did you mean eth0?); there are lo, eth0, eth1, tun0; --wait waits for it"
        );
        assert!(error("wlan9").starts_with("there is no interface wlan9; there are lo"));
        assert!(error("tun0").contains("not an Ethernet interface"));
    }

    #[test]
    fn an_interface_named_twice_counts_once() {
        let links = [link("eth0"), link("eth1")];
        let names = ["eth1", "eth0", "eth1"].map(String::from);
        let picked = interfaces(&links, &names, false).unwrap();
        assert_eq!(picked, [link("eth1"), link("eth0")]);
    }

    #[test]
    fn a_directory_that_can_be_made_is_writable() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(access(directory.path()), Ok(()));
        assert_eq!(access(&directory.path().join("a/b")), Ok(()));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let inside = file.join("a");
        assert_eq!(access(&inside), Err((&*file, Errno::ENOTDIR)));
        let error = writable(&inside, directory.path(), "Setting=").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("file is not writable for uid "), "{error}");
        assert!(error.contains("install -d -o "), "{error}");
        assert!(error.ends_with("or Setting="), "{error}");
    }
}
