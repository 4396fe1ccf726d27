//! Installed Rusts, and whether each can build the kernel programs.

use std::{
    env,
    fmt::{self, Display},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    command,
    packages::{self, Install, Program},
};

/// LLVM version that bpf-linker is built for.
pub(super) const LLVM: u32 = 22;
/// Oldest Rust that builds the workspace: its `rust-version`.
const RUST: (u32, u32) = (1, 95);

const DEBIAN_CLIPPY: Program = Program::new(
    "/usr/bin/clippy-driver",
    "rust-web-clippy",
    "lints the kernel programs",
);

/// Installer of a Rust, which says how to add components.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// rustup, with the name of the toolchain.
    Rustup(String),
    /// A distribution or a manual installation.
    System,
}

/// An installed Rust.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(super) origin: Origin,
    sysroot: PathBuf,
    version: Version,
    /// Whether the sources of `core` are installed.
    has_sources: bool,
    /// Path of the shared LLVM that rustc uses.
    llvm: Option<PathBuf>,
}

impl Toolchain {
    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    pub(crate) fn cargo(&self) -> PathBuf {
        self.sysroot.join("bin/cargo")
    }

    /// Path of the shared LLVM, which bpf-linker uses too.
    pub(crate) fn llvm(&self) -> Option<&Path> {
        self.llvm.as_deref()
    }

    /// Returns the path of `clippy-driver`. Installs it if it is missing, except with rustup.
    pub(crate) fn clippy(&self, install: Install) -> Result<PathBuf> {
        let driver = self.sysroot.join("bin/clippy-driver");
        if driver.exists() {
            return Ok(driver);
        }
        match &self.origin {
            Origin::Rustup(name) => {
                bail!("no clippy: rustup component add clippy --toolchain {name}")
            }
            Origin::System => packages::ensure(&[DEBIAN_CLIPPY], install)?,
        }
        Ok(driver)
    }

    /// Reads versions and libraries of the Rust under `sysroot`, if there is one.
    fn inspect(origin: Origin, sysroot: PathBuf) -> Option<Self> {
        let rustc = sysroot.join("bin/rustc");
        let version = command::output(Command::new(&rustc).arg("-vV")).ok()?;
        // Only the loader knows which library rustc will use.
        let libraries = command::output(Command::new("ldd").arg(&rustc)).unwrap_or_default();
        Some(Self {
            origin,
            version: Version::parse(&version)?,
            has_sources: sysroot
                .join("lib/rustlib/src/rust/library/Cargo.lock")
                .exists(),
            llvm: shared_llvm(&libraries),
            sysroot,
        })
    }

    /// Reason why this Rust cannot build the kernel programs.
    pub(super) fn objection(&self) -> Option<String> {
        let Version { rust, llvm, .. } = &self.version;
        if *rust < RUST {
            Some(format!("older than {}.{}", RUST.0, RUST.1))
        } else if *llvm != LLVM {
            Some(format!("its LLVM is {llvm}, bpf-linker's is {LLVM}"))
        } else if self.llvm.is_none() {
            Some("no shared LLVM that bpf-linker could use".into())
        } else if !self.has_sources {
            Some("no rust-src".into())
        } else {
            None
        }
    }

    /// Name of this toolchain, if the component `rust-src` of rustup is all that it can lack.
    pub(super) fn lacks_only_sources(&self) -> Option<&str> {
        let complete = Self {
            has_sources: true,
            ..self.clone()
        };
        match &self.origin {
            Origin::Rustup(name) if complete.objection().is_none() => Some(name),
            _ => None,
        }
    }
}

impl Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sysroot, version, ..
        } = self;
        match &self.origin {
            Origin::Rustup(name) => write!(f, "rustup's {name} ({})", version.text),
            Origin::System => write!(
                f,
                "the system's Rust in {} ({})",
                sysroot.display(),
                version.text
            ),
        }
    }
}

/// Versions in the output of `rustc -vV`.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    rust: (u32, u32),
    llvm: u32,
    /// Both versions, for messages.
    text: String,
}

impl Version {
    /// Reads the output of `rustc -vV`.
    fn parse(output: &str) -> Option<Self> {
        let field = |name| {
            let mut lines = output.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (release, llvm) = (field("release")?, field("LLVM version")?);
        let mut numbers = release.split('.').map_while(|number| number.parse().ok());
        Some(Self {
            rust: (numbers.next()?, numbers.next()?),
            llvm: llvm.split('.').next()?.parse().ok()?,
            text: format!("{release}, LLVM {llvm}"),
        })
    }
}

/// Returns every Rust of this machine once, the active one first.
pub(super) fn survey() -> Vec<Toolchain> {
    let listed = command::output(Command::new("rustup").args(["toolchain", "list", "-v"]));
    let mut candidates = rustup_toolchains(&listed.unwrap_or_default());
    // rustup's proxies set this variable to the active toolchain.
    let active = env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    candidates.sort_by_key(|(name, _)| *name != active);
    let mut candidates: Vec<_> = candidates
        .into_iter()
        .map(|(name, sysroot)| (Origin::Rustup(name), sysroot))
        .collect();
    let on_path = command::output(Command::new("rustc").args(["--print", "sysroot"]));
    for sysroot in [on_path.unwrap_or_default().trim(), "/usr"] {
        let sysroot = PathBuf::from(sysroot);
        if !candidates.iter().any(|(_, known)| *known == sysroot) {
            candidates.push((Origin::System, sysroot));
        }
    }
    candidates
        .into_iter()
        .filter_map(|(origin, sysroot)| Toolchain::inspect(origin, sysroot))
        .collect()
}

/// Names and directories in the output of `rustup toolchain list -v`.
fn rustup_toolchains(list: &str) -> Vec<(String, PathBuf)> {
    let toolchain = |line: &str| {
        let name = line.split_whitespace().next()?;
        let sysroot = &line[line.find('/')?..];
        Some((name.to_owned(), PathBuf::from(sysroot.trim_end())))
    };
    list.lines().filter_map(toolchain).collect()
}

/// Path of libLLVM in the output of `ldd`.
fn shared_llvm(libraries: &str) -> Option<PathBuf> {
    let line = libraries
        .lines()
        .find(|line| line.trim_start().starts_with("libLLVM"))?;
    let path = line.split_once("=> ")?.1;
    Some(path.split(" (0x").next()?.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn toolchain(
        origin: Origin,
        rust: (u32, u32),
        llvm: u32,
        has_sources: bool,
    ) -> Toolchain {
        Toolchain {
            origin,
            sysroot: "/opt/rust".into(),
            version: Version {
                rust,
                llvm,
                text: format!("{}.{}.0, LLVM {llvm}", rust.0, rust.1),
            },
            has_sources,
            llvm: Some("/opt/rust/lib/libLLVM.so".into()),
        }
    }

    pub(in super::super) fn rustup(name: &str) -> Origin {
        Origin::Rustup(name.into())
    }

    #[test]
    fn version_is_read() {
        let output = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\n\
                      LLVM version: 22.1.8\n";
        let version = Version::parse(output).unwrap();
        assert_eq!((version.rust, version.llvm), ((1, 96), 22));
        let nightly = Version::parse("release: 1.97.0-nightly\nLLVM version: 22.1.2\n").unwrap();
        assert_eq!(nightly.rust, (1, 97));
        assert_eq!(Version::parse("release: 1.96.0\n"), None);
    }

    #[test]
    fn rustup_list_is_read() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default) /home/a b/.rustup/toolchains/stable\n\
                    nightly-x86_64-unknown-linux-gnu\t/home/a b/.rustup/toolchains/nightly\n\
                    no installed toolchains\n";
        assert_eq!(
            rustup_toolchains(list),
            [
                (
                    "stable-x86_64-unknown-linux-gnu".into(),
                    PathBuf::from("/home/a b/.rustup/toolchains/stable")
                ),
                (
                    "nightly-x86_64-unknown-linux-gnu".into(),
                    PathBuf::from("/home/a b/.rustup/toolchains/nightly")
                ),
            ]
        );
    }

    #[test]
    fn shared_llvm_is_found() {
        let libraries = "\tlibdl.so.2 => /lib/libdl.so.2 (0x00007f0f34eca000)\n\
                         \tlibLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007fc98dc00000)\n";
        assert_eq!(
            shared_llvm(libraries),
            Some("/lib/x86_64-linux-gnu/libLLVM.so.22.1".into())
        );
        assert_eq!(shared_llvm("\tlibLLVM.so.22.1 not found\n"), None);
        assert_eq!(shared_llvm("\tstatically linked\n"), None);
    }

    #[test]
    fn linker_needs_the_llvm_of_the_compiler() {
        let mut alone = toolchain(rustup("stable"), (1, 95), 22, true);
        assert_eq!(alone.objection(), None);
        alone.llvm = None;
        assert!(alone.objection().unwrap().contains("no shared LLVM"));
    }
}
