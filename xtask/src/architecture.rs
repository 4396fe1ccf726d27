//! Processor architectures that sipnat is built for.

use clap::ValueEnum;

use crate::packages::Program;

/// An architecture, by the name of Rust's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// PCs and servers
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86_64,
    /// 64-bit ARM, such as a Raspberry Pi
    #[value(name = "aarch64-unknown-linux-gnu")]
    Aarch64,
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("sipnat is built on x86-64 and on 64-bit ARM only");

impl Architecture {
    /// Architecture of this machine.
    pub(crate) const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// Rust's name of the target.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// Name in `cfg(target_arch)`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Name of the folder with libraries, below /usr/lib.
    pub(crate) const fn libraries(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
        }
    }

    /// Compiler and C library that link programs for this architecture on another one.
    pub(crate) const fn linker(self) -> [Program; 2] {
        match self {
            Self::X86_64 => [
                Program::new(
                    "x86_64-linux-gnu-gcc",
                    "gcc-x86-64-linux-gnu",
                    "links programs for x86-64",
                ),
                Program::new(
                    "/usr/x86_64-linux-gnu/lib/Scrt1.o",
                    "libc6-dev-amd64-cross",
                    "is the C library of x86-64",
                ),
            ],
            Self::Aarch64 => [
                Program::new(
                    "aarch64-linux-gnu-gcc",
                    "gcc-aarch64-linux-gnu",
                    "links programs for arm64",
                ),
                Program::new(
                    "/usr/aarch64-linux-gnu/lib/Scrt1.o",
                    "libc6-dev-arm64-cross",
                    "is the C library of arm64",
                ),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_by_their_names() {
        for architecture in Architecture::value_variants() {
            let value = architecture.to_possible_value().unwrap();
            assert_eq!(value.get_name(), architecture.target());
        }
    }
}
