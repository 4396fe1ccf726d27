//! The sipnat command.

use std::{io, process::ExitCode};

use anyhow::{Context as _, Error, Result};
use clap::Parser as _;
use nat_userspace::{
    agent::{
        run,
        session::{NoAgent, Session},
    },
    cli::{Bindings, Cli, Command, PolicyCommand},
    commands::{bindings, explain, policy, stats, status, stun_query},
    kernel::{load::Rejected, policy as rules},
};

/// Nothing runs that could be asked. 2 is clap's, for wrong usage.
const NO_AGENT: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = env_logger::Env::default().default_filter_or("warn");
    // What aya says of each relocation would drown the rest.
    env_logger::Builder::from_env(log)
        .filter_module("aya_obj", log::LevelFilter::Warn)
        .init();
    let verifier_log = matches!(&cli.command, Command::Run(run) if run.verifier_log);
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // As under `| head`: whoever read had enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if let (true, Some(rejected)) = (verifier_log, error.downcast_ref::<Rejected>()) {
                eprintln!("{}", rejected.log);
            }
            eprintln!("sipnat: {}", chain(&error));
            if error.is::<NoAgent>() {
                ExitCode::from(NO_AGENT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn is_closed_pipe(error: &Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => wait_for(run::run(args.into())),
        Command::Detach => wait_for(run::detach()),
        Command::Bindings { command, json } => {
            let mut session = Session::open()?;
            match command.unwrap_or(Bindings::List { json }) {
                Bindings::List { json } => bindings::list(&session.tables, json),
                Bindings::Show { binding, json } => bindings::show(&session.tables, &binding, json),
                Bindings::Watch => bindings::watch(&session.tables),
                Bindings::Remove { binding } => bindings::remove(&mut session.tables, &binding),
            }
        }
        Command::Policy { command, json } => {
            let mut session = Session::open()?;
            match command.unwrap_or(PolicyCommand::List { json }) {
                PolicyCommand::List { json } => policy::list(&session.tables, json),
                PolicyCommand::Set { prefix, policy } => {
                    rules::set(&mut session.tables, prefix, policy)
                }
                PolicyCommand::Remove { prefix } => rules::remove(&mut session.tables, prefix),
            }
        }
        Command::Stats { all, json } => stats::show(&Session::open()?.tables, all, json),
        Command::Explain { call_id, json } => {
            explain::show(&Session::open()?.tables, &call_id, json)
        }
        Command::StunQuery(query) => stun_query::run(&query.into()),
        Command::Status { json } => {
            let session = Session::open()?;
            wait_for(status::show(&session, json))?;
            if session.agent.is_alive() {
                Ok(())
            } else {
                Err(NoAgent.into())
            }
        }
    }
}

/// One thread: the agent must stay in the network namespace that it was started in.
fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

/// The error and its causes in one line; some repeat what their cause says.
fn chain(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
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
}
