//! Packages of Debian, whichever release this machine has: fetched and unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// One release of Debian, as apt sees it that knows nothing else.
pub(crate) struct Archive {
    /// Apt's lists of packages, away from those of the system.
    directory: PathBuf,
}

impl Archive {
    /// Asks the mirror that this machine uses for a release.
    pub(crate) fn open(suite: &str, directory: &Path) -> Result<Self> {
        /// Holds the keys of every release that is still supported.
        const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::create_dir_all(directory.join("archives/partial"))?;
        let source = format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror()?);
        fs::write(directory.join("sources.list"), source)?;
        let archive = Self {
            directory: directory.to_owned(),
        };
        command::run(archive.apt("apt-get").args(["-qq", "update"]))?;
        Ok(archive)
    }

    /// The package that a package is there to bring, which has a version in its name.
    pub(crate) fn brought_by(&self, package: &str) -> Result<String> {
        let depends = command::output(self.apt("apt-cache").args(["depends", package]))?;
        first_dependency(&depends)
            .map(str::to_owned)
            .with_context(|| format!("{package} depends on nothing:\n{depends}"))
    }

    /// Fetches a package and puts its files into a directory.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let fetched = self.directory.join(package);
        fs::create_dir_all(&fetched)?;
        let mut download = self.apt("apt-get");
        download.args(["-qq", "download", package]);
        command::run(download.current_dir(&fetched))?;
        let file = fs::read_dir(&fetched)?
            .next()
            .with_context(|| format!("apt-get did not bring {package}"))??;
        let mut unpack = Command::new("dpkg-deb");
        command::run(unpack.arg("--extract").arg(file.path()).arg(into))
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::SourceList", self.directory.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", self.directory.join("lists")),
            ("Dir::Cache", self.directory.clone()),
            ("Acquire::Languages", "none".into()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".into(),
            ),
            // The user that apt would become may not write here.
            ("APT::Sandbox::User", "root".into()),
        ] {
            apt.arg("-o").arg(format!("{option}={}", value.display()));
        }
        apt
    }
}

/// Where this machine's apt gets Debian from.
fn mirror() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]);
    let repositories = command::output(&mut targets)?;
    let mirror = debian_mirror(&repositories);
    Ok(mirror
        .context("this machine's apt knows no mirror of Debian")?
        .to_owned())
}

/// Mirrors have Debian in a directory of that name; that of its security updates is another.
fn debian_mirror(repositories: &str) -> Option<&str> {
    let mut mirrors = repositories.lines().map(str::trim);
    mirrors.find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
}

/// In the output of `apt-cache depends`.
fn first_dependency(depends: &str) -> Option<&str> {
    let mut lines = depends.lines();
    lines.find_map(|line| line.trim().strip_prefix("Depends: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_of_debian_is_found() {
        let repositories = "http://mirror.example/debian-security/\n\
                            http://packages.example/debian/\nhttp://other.example/debian\n";
        assert_eq!(
            debian_mirror(repositories),
            Some("http://packages.example/debian/")
        );
        assert_eq!(debian_mirror("http://archive.example/ubuntu/\n"), None);
    }

    #[test]
    fn the_package_behind_a_name_is_found() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(
            first_dependency(depends),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(first_dependency("busybox-static\n"), None);
    }
}
