//! The sipnat command.

use std::{env, io, process::ExitCode};

use anyhow::Error;
use clap::Parser as _;
use nat_userspace::{
    agent::session::NoAgent,
    cli::Cli,
    commands::run::Usage,
    host::{
        log,
        terminal::{note, printable, printable_lines},
    },
    kernel::refusal,
};

/// Exit status for options that do not go together; clap's, too.
const WRONG_USAGE: u8 = 2;
/// Exit status where no agent runs.
const NO_AGENT: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    match log::start().and_then(|()| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has read enough, as `head` does.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(&chain(&error));
            if error.is::<NoAgent>() {
                ExitCode::from(NO_AGENT)
            } else if error.is::<Usage>() {
                ExitCode::from(WRONG_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Prints clap's help, version or error. An error repeats arguments, which may hold anything.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    let is_plain = |argument: &std::ffi::OsStr| {
        let text = argument.as_encoded_bytes();
        printable(text).as_bytes() == text
    };
    if !error.use_stderr() || env::args_os().all(|argument| is_plain(&argument)) {
        error.exit();
    }
    eprint!("{}", printable_lines(&error.render().to_string()));
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn is_closed_pipe(error: &Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes an error and its causes, without those that an error before has named, and a remedy if there is one.
fn chain(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    match refusal::remedy(error) {
        Some(remedy) => format!("{text}; {remedy}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_not_repeated() {
        let error = anyhow!("refused")
            .context("cannot load: refused")
            .context("cannot start");
        assert_eq!(chain(&error), "cannot start: cannot load: refused");
    }

    #[test]
    fn the_cause_that_can_be_removed_comes_with_its_remedy() {
        let error = Error::from(io::Error::from_raw_os_error(24)).context("cannot load");
        let text = chain(&error);
        assert!(
            text.starts_with("cannot load: Too many open files"),
            "{text}"
        );
        assert!(text.contains("ulimit -n"), "{text}");
    }
}
