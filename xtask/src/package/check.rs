//! Check of a package: a fresh Debian installs, runs, upgrades, removes and purges it, under a systemd of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command, kernel,
    packages::{self, Install, Program},
    tools,
    workspace::Workspace,
};

/// Release of Debian that the package must install on.
const SUITE: &str = "bookworm";
/// Packages beside the essential ones: the service manager, and what the check runs.
const INCLUDED: &str = "bash-completion,iproute2,man-db,systemd,systemd-sysv";

const PROGRAMS: [Program; 2] = [
    Program::new("debootstrap", "debootstrap", "makes a fresh Debian"),
    Program::new("unshare", "util-linux", "runs it in namespaces"),
];

/// Checks `package`. Fails with the end of the log.
pub(super) fn check(workspace: &Workspace, install: Install, package: &Path) -> Result<()> {
    ensure!(
        kernel::is_root(),
        "only root can check a package: it makes namespaces and loads programs"
    );
    packages::ensure(&PROGRAMS, install)?;
    let root = debian()?;
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
    println!("checked on Debian {SUITE}: installs, runs, upgrades, removes, purges");
    Ok(())
}

/// Returns the directory of a fresh Debian, which is made once.
fn debian() -> Result<PathBuf> {
    let root = tools::cache()?.join(format!("debian-{SUITE}"));
    if root.exists() {
        return Ok(root);
    }
    let draft = root.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    fs::create_dir_all(&draft)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", "--include", INCLUDED, SUITE])
        .arg(&draft);
    command::run(&mut debootstrap)?;
    fs::rename(&draft, &root)?;
    Ok(root)
}
