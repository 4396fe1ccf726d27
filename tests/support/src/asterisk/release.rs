//! Releases of Asterisk, and where they are.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};

/// Release of Asterisk, and its SIP channel driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Asterisk 22 of Debian's suite sid, with `chan_pjsip`.
    Pjsip22,
    /// Asterisk 16 of Debian 11, with `chan_pjsip`.
    Pjsip16,
    /// Asterisk 16 of Debian 11, with `chan_sip`.
    ChanSip16,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pjsip22, Self::Pjsip16, Self::ChanSip16];

    /// Whether the channel driver is `chan_sip`.
    pub fn is_chan_sip(self) -> bool {
        self == Self::ChanSip16
    }

    /// Name of the channel driver in dialplan and command line.
    pub fn technology(self) -> &'static str {
        if self.is_chan_sip() { "SIP" } else { "PJSIP" }
    }

    /// Returns the root of the Debian that has it.
    pub(super) fn root(self) -> Result<PathBuf> {
        let variable = match self {
            Self::Pjsip22 => "SIPNAT_ASTERISK_22",
            Self::Pjsip16 | Self::ChanSip16 => "SIPNAT_ASTERISK_16",
        };
        let root = env::var_os(variable).with_context(|| {
            format!("{variable} names no folder with Asterisk: run `cargo xtask test interop`")
        })?;
        Ok(root.into())
    }

    /// Returns what `asterisk -V` begins with. A suite of Debian may get another release.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Pjsip22 => "Asterisk 22.",
            Self::Pjsip16 | Self::ChanSip16 => "Asterisk 16.",
        }
    }
}
