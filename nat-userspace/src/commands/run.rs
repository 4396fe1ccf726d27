//! `sipnat run`: the agent in the foreground.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use nat_common::abi::{MEDIA_EXTERNALS, MEDIA_FORWARDING};

use crate::{agent, commands::options::Options, config, settings::Settings};

/// Arguments of `sipnat run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file; its keys are the long options below, which override it
    /// [default: /etc/sipnat/sipnat.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Error of options that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub(super) String);

impl Run {
    /// Reads the configuration file, and returns the settings that it and the flags make.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong, or the options do not go together.
    pub fn settings(&self) -> Result<Settings> {
        let default = Path::new(config::PATH);
        let file = match &self.config {
            Some(file) => config::read(file)?,
            None if default.exists() => config::read(default)?,
            None => Options::default(),
        };
        self.over(file)
    }

    /// Returns the settings of `file`, overridden by the flags.
    ///
    /// # Errors
    /// A [`Usage`] if the options do not go together.
    pub fn over(&self, file: Options) -> Result<Settings> {
        let mut settings = Settings::default();
        file.fill(&mut settings);
        self.options.clone().fill(&mut settings);
        let usage = |is_right: bool, why: &str| -> Result<()> {
            ensure!(is_right, Usage(why.into()));
            Ok(())
        };
        usage(
            !settings.interfaces.is_empty(),
            "no interface is named: use --iface <INTERFACE>, or the key iface of the configuration file",
        )?;
        usage(
            !(settings.shadow && settings.stun.answer),
            "shadow and stun exclude each other: an answer is a change",
        )?;
        if let Some(option) = self.options.of_stun() {
            let why = format!("--{option} has no effect without --stun");
            usage(settings.stun.answer, &why)?;
        }
        if let Some(option) = self.options.of_media() {
            let why = format!("--{option} has no effect without --media");
            usage(settings.media, &why)?;
        }
        if let Some(option) = self.options.of_keepalives() {
            let why = format!("--{option} has no effect without --keepalive");
            usage(settings.keepalives.are_on(), &why)?;
        }
        usage(
            !(settings.shadow && settings.keepalives.are_on()),
            "shadow and keepalive exclude each other: in shadow mode sipnat sends nothing",
        )?;
        if let Some(option) = self.options.of_metrics() {
            let why = format!("--{option} has no effect without --metrics");
            usage(settings.metrics.is_some(), &why)?;
        }
        usage(
            settings.externals.len() <= MEDIA_EXTERNALS,
            "there are more than four addresses of external",
        )?;
        usage(
            settings.guesses.len() <= MEDIA_FORWARDING,
            "there are more than four prefixes of media-guess",
        )?;
        Ok(settings)
    }

    /// Runs the agent until a signal ends it.
    ///
    /// # Errors
    /// If it cannot start.
    pub async fn run(self) -> Result<()> {
        agent::run::run(&self.settings()?, &|| self.settings()).await
    }
}
