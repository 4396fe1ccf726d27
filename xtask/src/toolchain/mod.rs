//! The Rust that builds the kernel programs, found or prepared.
//!
//! `core` for the BPF target must be built from source. So this Rust needs rustup's component `rust-src`, or a
//! distribution's package of the sources. bpf-linker must read the bitcode that this Rust writes, so it uses the LLVM of
//! this Rust.

mod installed;

use std::process::Command;

use anyhow::{Result, bail};

pub(crate) use self::installed::Toolchain;

use self::installed::{LLVM, survey};
use crate::{
    command,
    packages::{self, Install, Program},
};

/// Rust that rustup installs if none fits: the first that does.
const RUSTUP_VERSION: &str = "1.95.0";

/// Debian's compiler for its browsers, which is far newer than the Rust of the release.
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

/// Finds or prepares a Rust that can build the kernel programs. Prints its name and the reasons against the others.
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
        // The distribution's Rust comes first, because it changes none of the user's rustup toolchains.
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

/// First Rust without an objection. The active one comes first.
fn choose(installed: &[Toolchain]) -> Option<&Toolchain> {
    installed
        .iter()
        .find(|toolchain| toolchain.objection().is_none())
}

/// Prints the chosen Rust, and why the others cannot be used.
fn explain(chosen: &Toolchain, installed: &[Toolchain]) {
    eprintln!("eBPF toolchain: {chosen}, because it has rust-src and LLVM {LLVM}");
    let objections = objections(installed);
    if !objections.is_empty() {
        eprintln!("not suitable:\n{objections}");
    }
}

/// Lines with each Rust that cannot be used, and the reason.
fn objections(installed: &[Toolchain]) -> String {
    let lines = installed.iter().filter_map(|toolchain| {
        let objection = toolchain.objection()?;
        Some(format!("  {toolchain}: {objection}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Arguments of the rustup command that prepares a Rust. None without rustup.
///
/// The command adds the sources to a toolchain that lacks only them, or installs another toolchain.
fn rustup_command(installed: &[Toolchain]) -> Option<Vec<String>> {
    packages::find("rustup")?;
    let lacks_sources = installed.iter().find_map(Toolchain::lacks_only_sources);
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

/// Text of the error without a suitable Rust: objections, failures, and commands to try.
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
    use super::{
        installed::{
            Origin,
            tests::{rustup, toolchain},
        },
        *,
    };

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
    fn failure_names_the_commands() {
        let installed = [toolchain(rustup("stable"), (1, 95), 22, false)];
        let words = ["component", "add", "rust-src"].map(str::to_owned);
        let text = no_toolchain(&installed, Some(&words), &[]);
        assert!(text.contains("rustup component add rust-src"), "{text}");
        assert!(text.contains("cargo-web rust-web-src rustc-web"), "{text}");
    }
}
