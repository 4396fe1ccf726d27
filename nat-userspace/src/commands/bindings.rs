//! `sipnat bindings`: the terminals that sipnat knows.

use std::{iter, net::SocketAddr};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use nat_common::abi::{BindingFlags, ContactKey};
use serde::Serialize;

use crate::{
    agent::session::Session,
    commands::watch::watch,
    host::clock,
    kernel::{mapped::Access, tables::Tables},
    view::{
        listing::Listing,
        output,
        page::Page,
        proof::Proof,
        rows::{Row, RowKey, seconds},
    },
};

/// Arguments of `sipnat bindings`.
#[derive(Debug, Args)]
pub struct Bindings {
    /// Subcommand; `list` by default.
    #[command(subcommand)]
    command: Option<BindingsCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Subcommands of `sipnat bindings`.
#[derive(Debug, Subcommand)]
enum BindingsCommand {
    /// List all bindings
    #[command(after_help = "Example:\n  sipnat bindings list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one binding in full
    #[command(
        after_help = "Examples:\n  sipnat bindings show 7fc59d9c\n  sipnat bindings show 60.17.196.2"
    )]
    Show {
        /// Start of its id, user@host, user, host, Contact URI, or an address
        binding: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print changes of bindings as they come, one a line
    ///
    /// A line says that a binding was added, has changed or is gone. It tells what was changed: the state, an address, the
    /// number of redirected packets. A refresh that changes none of these is none. The tables are read once a second: what comes
    /// and goes in between is not seen. Ends with the reader of its output, or by SIGINT.
    #[command(
        after_help = "Examples:\n  sipnat bindings watch\n  sipnat bindings watch --json | jq 'select(.change == \"added\") | .binding.terminal'"
    )]
    Watch {
        /// Print JSON: an object for each change
        #[arg(long)]
        json: bool,
    },
    /// Forget one binding
    #[command(after_help = "Example:\n  sipnat bindings remove 7fc59d9c")]
    Remove {
        /// As in `show`
        binding: String,
    },
}

impl Bindings {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// If there is no agent, no such binding, or the maps cannot be read or written.
    pub async fn run(self) -> Result<()> {
        let session = Session::open()?;
        let tables = &session.tables;
        let list = BindingsCommand::List { json: self.json };
        match self.command.unwrap_or(list) {
            BindingsCommand::List { json: true } => {
                let listing = Listing::read(tables)?;
                output::to_stdout(|out| listing.write_json(out))
            }
            BindingsCommand::List { json: false } => print(tables),
            BindingsCommand::Show { binding, json } => show(tables, &binding, json),
            BindingsCommand::Watch { json } => watch(session, json).await,
            BindingsCommand::Remove { binding } => remove(tables, &binding),
        }
    }
}

/// Prints the list.
fn print(tables: &Tables) -> Result<()> {
    let listing = Listing::read(tables)?;
    let page = Page::of(&listing);
    let shadow = tables.shadow()?.then(|| output::SHADOW.into());
    output::print_lines(shadow.into_iter().chain(page.lines()))
}

/// A binding in full.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: Row,
    /// Entry by the Contact URI alone; none for a dialog.
    by_uri: Option<ByUri>,
    proof: Proof,
}

/// Entry of a contact by its URI alone, which requests use whose To does not name the address-of-record.
#[derive(Serialize)]
struct ByUri {
    /// The entry is this contact's own.
    own: bool,
    /// Set if terminals of several owners claim it: no request uses it.
    ambiguous: bool,
    learned: SocketAddr,
    /// Number of packets that it redirected.
    redirected: u64,
}

impl ByUri {
    /// Reads the entry of a row, if it has one.
    fn read(tables: &Tables, row: &Row) -> Result<Option<Self>> {
        let RowKey::Contact(key) = row.key else {
            return Ok(None);
        };
        let contacts = tables.contacts.open(Access::Read)?;
        let now = clock::now();
        let entry = contacts.get(&ContactKey { aor: 0, ..key });
        Ok(entry.filter(|entry| entry.expires > now).map(|entry| Self {
            own: entry.aor == key.aor,
            ambiguous: entry.is_ambiguous(now),
            learned: entry.learned.into(),
            redirected: entry.redirected,
        }))
    }

    fn line(&self) -> String {
        let Self {
            learned,
            redirected,
            ..
        } = self;
        match self {
            Self {
                ambiguous: true, ..
            } => "claimed by several owners: not used".into(),
            Self { own: true, .. } => format!("{redirected} packets"),
            Self { own: false, .. } => {
                format!("another owner's, at {learned}, {redirected} packets")
            }
        }
    }
}

/// Prints one binding in full.
fn show(tables: &Tables, text: &str, json: bool) -> Result<()> {
    let row = Listing::read(tables)?.pick(text)?;
    let proof = Proof::read(tables, &row)?;
    let by_uri = ByUri::read(tables, &row)?;
    if json {
        return output::json(&Shown { row, by_uri, proof });
    }
    let ago = |time| format!("{} ago", seconds(time));
    let keepalive = row.stun_seen_seconds_ago.map_or_else(|| "-".into(), ago);
    let lines = [
        ("id", row.id.clone()),
        (
            "terminal",
            row.terminal.clone().unwrap_or_else(|| "-".into()),
        ),
        ("contact uri", row.uri.clone().unwrap_or_else(|| "-".into())),
        ("kind", row.kind().into()),
        ("state", row.state_and_round_trip()),
        ("advertised", row.advertised()),
        ("learned", row.learned.to_string()),
        ("active since", ago(row.age_seconds)),
        ("last seen", ago(row.seen_seconds_ago)),
        ("keepalive", keepalive),
        ("expires", format!("in {}", seconds(row.expires_in_seconds))),
        ("redirected", format!("{} packets", row.redirected)),
        (
            "by URI alone",
            by_uri.as_ref().map_or_else(|| "-".into(), ByUri::line),
        ),
    ];
    let mut proven = proof.lines();
    if proven.is_empty() {
        proven.push("nothing yet".into());
    }
    let names = iter::once("proven").chain(iter::repeat(""));
    let lines: Vec<String> = lines
        .into_iter()
        .chain(names.zip(proven))
        .map(|(name, value)| format!("{name:<13} {value}"))
        .collect();
    output::print(&lines.join("\n"))
}

/// Removes one binding.
fn remove(tables: &Tables, text: &str) -> Result<()> {
    let row = Listing::read(tables)?.pick(text)?;
    match row.key {
        RowKey::Dialog(key) => {
            tables.dialogs.open(Access::Write)?.remove(&key);
        }
        RowKey::Contact(key) => {
            let mut contacts = tables.contacts.open(Access::Write)?;
            let advertised = contacts.get(&key).map(|known| known.advertised);
            // The entries without an owner may meanwhile be another terminal's.
            let others: Vec<ContactKey> = contacts
                .iter()
                .filter(|(other, binding)| {
                    let at_address = binding.flags.contains(BindingFlags::BY_ADDRESS)
                        && advertised == Some(binding.advertised);
                    other.aor == 0 && binding.aor == key.aor && (other.uri == key.uri || at_address)
                })
                .map(|(other, _)| other)
                .collect();
            for key in others {
                contacts.remove(&key);
            }
            contacts.remove(&key);
        }
        RowKey::Slot(_) => bail!("{} is pending: it is forgotten by itself", &row.id[..8]),
    }
    Ok(())
}
