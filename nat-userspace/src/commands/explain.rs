//! `sipnat explain`: the story of one call, one terminal or one address, or of the last requests that were not redirected.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use clap::Args;
use jiff::tz::TimeZone;

use crate::{
    agent::session::Session,
    view::{
        output,
        story::{Story, Subject},
    },
};

/// Arguments of `sipnat explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Call-ID, as in the SIP messages; an IP address, with or without port; or a terminal: its user, user@host, Contact URI, or the
    /// id of its binding
    #[arg(
        value_name = "CALL-ID|ADDRESS|TERMINAL",
        allow_hyphen_values = true,
        required_unless_present = "last",
        conflicts_with = "last"
    )]
    pub(crate) subject: Option<String>,
    /// Instead, the last N requests of the PBX that went where it sent them, although not to a learned address
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    pub(crate) last: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Explain {
    /// Prints the story.
    ///
    /// # Errors
    /// If nothing is known of the call or the address, or the maps cannot be read.
    pub fn run(&self) -> Result<()> {
        let subject = match (&self.subject, self.last) {
            (Some(text), _) => subject(text.trim()),
            (None, last) => Subject::Last(last.unwrap_or_default()),
        };
        let story = Story::read(&Session::open()?.tables, subject)?;
        if self.json {
            output::json(&story)
        } else {
            output::print(&story.render(&TimeZone::system()))
        }
    }
}

/// Reads the name of a call or a terminal.
pub(super) fn subject(text: &str) -> Subject {
    if let Ok(address) = text.parse::<SocketAddr>() {
        Subject::Address(address.ip(), Some(address.port()))
    } else if let Ok(ip) = text.parse::<IpAddr>() {
        Subject::Address(ip, None)
    } else {
        Subject::Named(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_no_call_id() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, expected) in [
            (
                "60.17.196.2:5060",
                Subject::Address(ip("60.17.196.2"), Some(5060)),
            ),
            ("192.168.1.10", Subject::Address(ip("192.168.1.10"), None)),
            (
                "[2001:db8::7]:5060",
                Subject::Address(ip("2001:db8::7"), Some(5060)),
            ),
            ("2001:db8::7", Subject::Address(ip("2001:db8::7"), None)),
            (
                "1-4711@192.168.1.10",
                Subject::Named("1-4711@192.168.1.10".into()),
            ),
            ("60.17.196.2:", Subject::Named("60.17.196.2:".into())),
            ("", Subject::Named(String::new())),
        ] {
            assert_eq!(subject(text), expected, "{text}");
        }
    }
}
