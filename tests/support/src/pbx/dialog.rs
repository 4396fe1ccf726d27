//! A call at the PBX.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Context as _, Result};

use crate::sip::Message;

/// Time after which a request counts as unanswered: timer B or F, shortened for tests.
pub(super) const GIVE_UP: Duration = Duration::from_millis(1800);

/// A call at the PBX.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// The Call-ID.
    pub call_id: String,
    /// Address to which the phone wants its audio.
    pub audio: Option<SocketAddrV4>,
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
}

/// Returns a header field that must be there.
pub(super) fn field(message: &Message, name: &str) -> Result<String> {
    Ok(message
        .field(name)
        .with_context(|| format!("no {name} in {}", message.start))?
        .to_owned())
}
