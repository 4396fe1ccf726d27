//! Log of this process: lines for people, or entries with fields for programs.
//!
//! A message is a whole sentence. Its fields say the same for programs: interface, table, prefix, pid, error. Lines leave
//! them out.

use std::{
    env,
    io::{IsTerminal as _, Stderr, stderr},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::stat::fstat;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, format::debug_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::host::terminal::printable_lines;

/// Environment variable with the form of the log.
const FORM: &str = "SIPNAT_LOG_FORM";
/// Variable by which systemd tells device and inode of standard error, if it leads to the journal (systemd.exec(5)).
const JOURNAL: &str = "JOURNAL_STREAM";
/// aya's messages about each relocation would hide all others.
const QUIET: &str = "aya_obj=warn";

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line a message.
    Lines,
    /// A JSON object a message, with its fields.
    Json,
    /// An entry of the journal a message, with its fields.
    Journal,
}

/// Starts the log, at the level of `RUST_LOG` or else of warnings.
///
/// # Errors
/// If `SIPNAT_LOG_FORM` names no form, or the journal, which does not listen.
pub fn start() -> Result<()> {
    let level = EnvFilter::builder()
        .with_default_directive(tracing::Level::WARN.into())
        .from_env_lossy()
        .add_directive(QUIET.parse()?);
    let named = env::var(FORM).ok();
    let layer = match layer(form(named.as_deref(), is_journal(&stderr()))?) {
        // Nobody asked for the journal. Its socket may be hidden, for example by chroot.
        Err(_) if named.is_none() => layer(Form::Lines),
        made => made,
    };
    // A layer that is filtered alone would leave the others' level at the highest.
    tracing_subscriber::registry()
        .with(layer?)
        .with(level)
        .try_init()
        .context("cannot start the log")
}

/// Makes the part of the log that writes.
fn layer(form: Form) -> Result<Box<dyn Layer<Registry> + Send + Sync>> {
    Ok(match form {
        Form::Lines => {
            let message = debug_fn(|line, field, value| match field.name() {
                "message" => line.write_str(&printable_lines(&format!("{value:?}"))),
                _ => Ok(()),
            });
            let lines = fmt::layer().with_writer(stderr).fmt_fields(message);
            lines.with_ansi(stderr().is_terminal()).boxed()
        }
        Form::Json => {
            let objects = fmt::layer().json().flatten_event(true);
            objects.with_writer(stderr).boxed()
        }
        Form::Journal => tracing_journald::layer()
            .context("cannot log to the journal")?
            .with_field_prefix(Some("SIPNAT".into()))
            .with_syslog_identifier("sipnat".into())
            .boxed(),
    })
}

/// Returns the form that is named; if none is, that which fits standard error.
fn form(named: Option<&str>, is_journal: bool) -> Result<Form> {
    match named {
        None | Some("") if is_journal => Ok(Form::Journal),
        None | Some("" | "lines") => Ok(Form::Lines),
        Some("json") => Ok(Form::Json),
        Some("journal") => Ok(Form::Journal),
        Some(other) => bail!("{FORM}={other}: must be lines, json or journal"),
    }
}

/// Whether standard error leads to the journal.
fn is_journal(stderr: &Stderr) -> bool {
    let Ok(stream) = env::var(JOURNAL) else {
        return false;
    };
    fstat(stderr.as_fd()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_named_one_or_that_of_standard_error() {
        for (named, is_journal, expected) in [
            (None, false, Form::Lines),
            (None, true, Form::Journal),
            (Some(""), false, Form::Lines),
            (Some("lines"), true, Form::Lines),
            (Some("json"), true, Form::Json),
            (Some("journal"), false, Form::Journal),
        ] {
            assert_eq!(form(named, is_journal).unwrap(), expected, "{named:?}");
        }
        let error = form(Some("xml"), false).unwrap_err().to_string();
        assert_eq!(error, "SIPNAT_LOG_FORM=xml: must be lines, json or journal");
    }
}
