//! Check of a package: a fresh Debian installs, runs, upgrades, removes and purges it, under a systemd of its own.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command,
    debootstrap::Root,
    kernel,
    packages::{self, Install, Program},
    workspace::Workspace,
};

/// Debian that the package must install on, with a service manager and what the check runs.
const DEBIAN: Root = Root {
    name: "debian-bookworm",
    suite: "bookworm",
    packages: "bash-completion,iproute2,man-db,systemd,systemd-sysv",
    why: "installs the package",
    megabytes: 400,
};

const UNSHARE: Program = Program::new("unshare", "util-linux", "runs it in namespaces");

/// Checks `package`. Fails with the end of the log.
pub(super) fn check(workspace: &Workspace, install: Install, package: &Path) -> Result<()> {
    ensure!(
        kernel::is_root(),
        "only root can check a package: it makes namespaces and loads programs"
    );
    packages::ensure(&[UNSHARE], install)?;
    let root = DEBIAN.folder(install)?;
    let scratch = workspace.target.join("package-check");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    fs::copy(package, scratch.join("sipnat.deb"))?;
    fs::write(scratch.join("check.sh"), include_str!("check.sh"))?;
    let machine = scratch.join("machine.sh");
    fs::write(&machine, include_str!("machine.sh"))?;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh"])
        .args([&machine, &root, &scratch]);
    command::run(&mut unshare)?;
    let log = scratch.join("log");
    let text = fs::read_to_string(&log)
        .with_context(|| format!("the machine did not start: see {}", scratch.display()))?;
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(15)..].join("\n");
    ensure!(
        lines.last() == Some(&"passed"),
        "{end}\nthe package failed its check: {}",
        log.display()
    );
    println!(
        "checked on Debian {}: installs, runs, upgrades, removes, purges",
        DEBIAN.suite
    );
    Ok(())
}
