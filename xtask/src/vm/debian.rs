//! Packages of any Debian release, fetched and unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{architecture::Architecture, command};

/// One release of Debian, with apt lists apart from the system's.
pub(crate) struct Archive {
    /// Directory of the lists and of fetched packages.
    directory: PathBuf,
    architecture: Architecture,
}

impl Archive {
    /// Fetches the package lists of a release from this machine's mirror.
    pub(crate) fn open(suite: &str, architecture: Architecture, directory: &Path) -> Result<Self> {
        /// Keys of every supported release.
        const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::create_dir_all(directory.join("archives/partial"))?;
        let source = format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror()?);
        fs::write(directory.join("sources.list"), source)?;
        // To apt, nothing is installed.
        fs::write(directory.join("status"), "")?;
        let archive = Self {
            directory: directory.to_owned(),
            architecture,
        };
        command::run(archive.apt("apt-get").args(["-qq", "update"]))?;
        Ok(archive)
    }

    /// Returns the package that a metapackage depends on, whose name contains a version.
    pub(crate) fn dependency(&self, package: &str) -> Result<String> {
        let depends = command::output(self.apt("apt-cache").args(["depends", package]))?;
        first_dependency(&depends)
            .map(str::to_owned)
            .with_context(|| format!("{package} depends on nothing:\n{depends}"))
    }

    /// Fetches a package and unpacks it into a directory.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let fetched = self.directory.join(package);
        fs::create_dir_all(&fetched)?;
        let mut download = self.apt("apt-get");
        download.args(["-qq", "download", package]);
        command::run(download.current_dir(&fetched))?;
        let file = fs::read_dir(&fetched)?
            .next()
            .with_context(|| format!("apt-get did not download {package}"))??;
        let mut unpack = Command::new("dpkg-deb");
        command::run(unpack.arg("--extract").arg(file.path()).arg(into))
    }

    /// Fetches packages with those that they depend on, and unpacks all of them into a directory.
    pub(crate) fn unpack_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        let mut download = self.apt("apt-get");
        download.args(["-qq", "install", "--yes", "--download-only"]);
        download.arg("--no-install-recommends").args(packages);
        command::run(&mut download)?;
        for file in fs::read_dir(self.directory.join("archives"))? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                command::run(unpack.arg("--extract").arg(file).arg(into))?;
            }
        }
        Ok(())
    }

    /// Returns an apt command that uses only the lists of this archive.
    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        for option in ["APT::Architecture", "APT::Architectures"] {
            apt.arg("-o")
                .arg(format!("{option}={}", self.architecture.debian()));
        }
        for (option, value) in [
            ("Dir::Etc::SourceList", self.directory.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", self.directory.join("lists")),
            ("Dir::State::status", self.directory.join("status")),
            ("Dir::Cache", self.directory.clone()),
            ("Acquire::Languages", "none".into()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".into(),
            ),
            // apt drops its rights to the user _apt, which may not write here.
            ("APT::Sandbox::User", "root".into()),
        ] {
            apt.arg("-o").arg(format!("{option}={}", value.display()));
        }
        apt
    }
}

/// Returns the URI of the Debian mirror that this machine's apt uses.
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

/// Finds the mirror among repository URIs. Its path ends with `/debian`; that of security updates does not.
fn debian_mirror(repositories: &str) -> Option<&str> {
    let mut mirrors = repositories.lines().map(str::trim);
    mirrors.find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
}

/// First dependency in the output of `apt-cache depends`.
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
    fn the_first_dependency_is_found() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(
            first_dependency(depends),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(first_dependency("busybox-static\n"), None);
    }
}
