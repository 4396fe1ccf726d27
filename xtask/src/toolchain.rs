//! The Rust that builds the kernel programs: found, or prepared.
//!
//! `core` for the BPF target must be built from source, so it takes a Rust that has its sources:
//! rustup's component `rust-src`, or a distribution's package of them. And bpf-linker must read the
//! bitcode that this very Rust writes, so it borrows that Rust's LLVM.

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

/// What bpf-linker is built for.
const LLVM: u32 = 22;
/// The workspace's `rust-version`.
const RUST: (u32, u32) = (1, 95);
/// What rustup is asked for if it has nothing that fits: the first Rust that does.
const RUSTUP_VERSION: &str = "1.95.0";

/// Debian's compiler for its browsers, which is far newer than the release's own.
const DEBIAN: [Program; 3] = [
    Program::new(
        "/usr/bin/rustc",
        "rustc-web",
        "compiles the kernel programs",
    ),
    Program::new(
        "/usr/bin/cargo",
        "cargo-web",
        "compiles the kernel programs",
    ),
    Program::new(
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "rust-web-src",
        "has the sources of core, which the BPF target needs",
    ),
];
const DEBIAN_CLIPPY: Program = Program::new(
    "/usr/bin/clippy-driver",
    "rust-web-clippy",
    "lints the kernel programs",
);

/// Who installed a Rust, and so how to add to it.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// rustup, under this name.
    Rustup(String),
    /// A distribution, or somebody's own hands.
    System,
}

/// One installed Rust.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    origin: Origin,
    sysroot: PathBuf,
    version: Version,
    /// Are the sources of `core` there?
    sources: bool,
    /// The shared LLVM that rustc uses.
    llvm: Option<PathBuf>,
}

impl Toolchain {
    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    pub(crate) fn cargo(&self) -> PathBuf {
        self.sysroot.join("bin/cargo")
    }

    /// The LLVM to lend to bpf-linker.
    pub(crate) fn llvm(&self) -> Option<&Path> {
        self.llvm.as_deref()
    }

    /// Clippy's compiler, installed if it can be.
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

    /// Looks at the Rust under `sysroot`, if there is one.
    fn inspect(origin: Origin, sysroot: PathBuf) -> Option<Self> {
        let rustc = sysroot.join("bin/rustc");
        let version = command::output(Command::new(&rustc).arg("-vV")).ok()?;
        // Who else but the loader knows which library it will be?
        let libraries = command::output(Command::new("ldd").arg(&rustc)).unwrap_or_default();
        Some(Self {
            origin,
            version: Version::parse(&version)?,
            sources: sysroot
                .join("lib/rustlib/src/rust/library/Cargo.lock")
                .exists(),
            llvm: shared_llvm(&libraries),
            sysroot,
        })
    }

    /// Why it cannot build the kernel programs.
    fn objection(&self) -> Option<String> {
        let Version { rust, llvm, .. } = &self.version;
        if *rust < RUST {
            Some(format!("older than {}.{}", RUST.0, RUST.1))
        } else if *llvm != LLVM {
            Some(format!("its LLVM is {llvm}, bpf-linker's is {LLVM}"))
        } else if self.llvm.is_none() {
            Some("no shared LLVM that bpf-linker could use".into())
        } else if !self.sources {
            Some("no rust-src".into())
        } else {
            None
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

/// What `rustc -vV` says.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    rust: (u32, u32),
    llvm: u32,
    text: String,
}

impl Version {
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

/// Finds a Rust that can build the kernel programs, or prepares one; says which, and why that one.
pub(crate) fn find_or_prepare(install: Install) -> Result<Toolchain> {
    let mut installed = survey();
    if let Some(toolchain) = choose(&installed) {
        explain(toolchain, &installed);
        return Ok(toolchain.clone());
    }
    let rustup = rustup_command(&installed);
    let mut failures = Vec::new();
    if install == Install::Missing {
        eprintln!(
            "no Rust here can build the kernel programs yet:\n{}",
            objections(&installed)
        );
        // The distribution's first: that changes none of the toolchains that the user chose.
        failures.extend(packages::ensure(&DEBIAN, install).err());
        installed = survey();
        if let (None, Some(arguments)) = (choose(&installed), &rustup) {
            failures.extend(command::run(Command::new("rustup").args(arguments)).err());
            installed = survey();
        }
        if let Some(toolchain) = choose(&installed) {
            explain(toolchain, &installed);
            return Ok(toolchain.clone());
        }
    }
    bail!(no_toolchain(&installed, rustup.as_deref(), &failures));
}

/// The first that nothing speaks against: the active one is the first of all.
fn choose(installed: &[Toolchain]) -> Option<&Toolchain> {
    installed
        .iter()
        .find(|toolchain| toolchain.objection().is_none())
}

fn explain(chosen: &Toolchain, installed: &[Toolchain]) {
    eprintln!("eBPF toolchain: {chosen}, because it has rust-src and LLVM {LLVM}");
    let objections = objections(installed);
    if !objections.is_empty() {
        eprintln!("passed over:\n{objections}");
    }
}

fn objections(installed: &[Toolchain]) -> String {
    let lines = installed.iter().filter_map(|toolchain| {
        let objection = toolchain.objection()?;
        Some(format!("  {toolchain}: {objection}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every Rust of this machine, the active one first, each once.
fn survey() -> Vec<Toolchain> {
    let listed = command::output(Command::new("rustup").args(["toolchain", "list", "-v"]));
    let mut candidates = rustup_toolchains(&listed.unwrap_or_default());
    // rustup's proxies say by this variable which of the toolchains is in use.
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

/// The path of libLLVM in the output of `ldd`.
fn shared_llvm(libraries: &str) -> Option<PathBuf> {
    let line = libraries
        .lines()
        .find(|line| line.trim_start().starts_with("libLLVM"))?;
    let path = line.split_once("=> ")?.1;
    Some(path.split(" (0x").next()?.into())
}

/// What rustup has to do: add the sources to a toolchain that lacks nothing else, or get another.
/// Nothing if there is no rustup.
fn rustup_command(installed: &[Toolchain]) -> Option<Vec<String>> {
    packages::find("rustup")?;
    let lacks_sources = installed.iter().find_map(|toolchain| {
        let complete = Toolchain {
            sources: true,
            ..toolchain.clone()
        };
        match &toolchain.origin {
            Origin::Rustup(name) if complete.objection().is_none() => Some(name.as_str()),
            _ => None,
        }
    });
    let words = match lacks_sources {
        Some(name) => vec!["component", "add", "rust-src", "--toolchain", name],
        None => vec![
            "toolchain",
            "install",
            RUSTUP_VERSION,
            "--profile=minimal",
            "--component=rust-src",
        ],
    };
    Some(words.into_iter().map(str::to_owned).collect())
}

fn no_toolchain(
    installed: &[Toolchain],
    rustup: Option<&[String]>,
    failures: &[anyhow::Error],
) -> String {
    let mut text = String::from("no Rust here can build the kernel programs\n");
    for line in [objections(installed)]
        .into_iter()
        .chain(failures.iter().map(|failure| format!("  {failure:#}")))
        .filter(|line| !line.is_empty())
    {
        text += &line;
        text.push('\n');
    }
    text += "Do one of these, then try again:\n";
    match rustup {
        Some(words) => text += &format!("  rustup {}\n", words.join(" ")),
        None => {
            text += &format!(
                "  install rustup, then: rustup toolchain install {RUSTUP_VERSION} --component=rust-src\n"
            );
        }
    }
    text + &format!(
        "  on Debian 12, as root: {}",
        packages::command_line(&DEBIAN)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(origin: Origin, rust: (u32, u32), llvm: u32, sources: bool) -> Toolchain {
        Toolchain {
            origin,
            sysroot: "/opt/rust".into(),
            version: Version {
                rust,
                llvm,
                text: format!("{}.{}.0, LLVM {llvm}", rust.0, rust.1),
            },
            sources,
            llvm: Some("/opt/rust/lib/libLLVM.so".into()),
        }
    }

    fn rustup(name: &str) -> Origin {
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
    fn first_that_fits_is_chosen() {
        let installed = [
            toolchain(rustup("stable"), (1, 95), 22, false),
            toolchain(rustup("old"), (1, 90), 20, true),
            toolchain(rustup("new"), (1, 99), 23, true),
            toolchain(Origin::System, (1, 96), 22, true),
            toolchain(rustup("nightly"), (1, 97), 22, true),
        ];
        assert_eq!(choose(&installed).unwrap().origin, Origin::System);
        let objections = objections(&installed);
        assert_eq!(objections.lines().count(), 3, "{objections}");
        assert!(choose(&installed[..3]).is_none());
    }

    #[test]
    fn linker_needs_the_llvm_of_the_compiler() {
        let mut alone = toolchain(rustup("stable"), (1, 95), 22, true);
        assert_eq!(alone.objection(), None);
        alone.llvm = None;
        assert!(alone.objection().unwrap().contains("no shared LLVM"));
    }

    #[test]
    fn failure_names_the_commands() {
        let installed = [toolchain(rustup("stable"), (1, 95), 22, false)];
        let words = ["component", "add", "rust-src"].map(str::to_owned);
        let text = no_toolchain(&installed, Some(&words), &[]);
        assert!(text.contains("rustup component add rust-src"), "{text}");
        assert!(text.contains("cargo-web rust-web-src rustc-web"), "{text}");
    }
}
