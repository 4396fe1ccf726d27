//! Reference parser for SIP: the `rsip` crate. [`scanned`] and [`parsed`] read the same fields, and
//! [`Identity::agrees`] compares them.

use nat_common::sip::{self, Field};
use rsip::prelude::*;

use crate::part;

/// Fields of a message that both parsers read.
#[derive(Debug, PartialEq)]
pub struct Identity {
    call_id: String,
    cseq: u32,
    from_tag: String,
    to_tag: String,
    branch: String,
}

/// Returns the fields that sipnat's scanner finds; `None` if it is in doubt.
pub fn scanned(text: &[u8]) -> Option<Identity> {
    let message = sip::read(text).ok()?;
    let part = |field| String::from_utf8_lossy(part(text, message.span(field))).into_owned();
    Some(Identity {
        call_id: part(Field::CallId),
        cseq: message.cseq,
        from_tag: part(Field::FromTag),
        to_tag: part(Field::ToTag),
        branch: part(Field::Branch),
    })
}

/// Returns the fields that `rsip` finds; `None` if it refuses one of them.
///
/// Two kinds of messages are not given to `rsip`, because it reads them against RFC 3261: a line that ends without CR,
/// and a `://` anywhere, which it takes for a part of the Request-URI even lines away.
///
/// # Panics
///
/// On some messages, inside of `rsip`.
pub fn parsed(text: &[u8]) -> Option<Identity> {
    if breaks_lines_oddly(text) || text.windows(3).any(|w| w == b"://") {
        return None;
    }
    let message = rsip::SipMessage::try_from(text).ok()?;
    let tag = |tag: Option<rsip::param::Tag>| tag.map(|t| t.to_string()).unwrap_or_default();
    Some(Identity {
        call_id: message.call_id_header().ok()?.value().to_owned(),
        cseq: message.cseq_header().ok()?.seq().ok()?,
        from_tag: tag(message.from_header().ok()?.tag().ok()?),
        to_tag: tag(message.to_header().ok()?.tag().ok()?),
        branch: message
            .via_header()
            .ok()?
            .typed()
            .ok()?
            .branch()
            .map(ToString::to_string)
            .unwrap_or_default(),
    })
}

impl Identity {
    /// Whether the scanner (`self`) does not contradict `rsip` (`other`).
    ///
    /// Three differences are allowed. `rsip` finds no tag or branch in a parameter that it cannot parse. It ends a token
    /// at characters that the scanner allows. It keeps white space at the end of a Call-ID.
    pub fn agrees(&self, other: &Self) -> bool {
        let same = |ours: &str, other: &str| {
            let token = ours.split(|c| "=/:@[]#$&{|}".contains(c)).next();
            other.is_empty() || ours == other || token == Some(other)
        };
        self.call_id == other.call_id.trim_end_matches([' ', '\t'])
            && self.cseq == other.cseq
            && same(&self.from_tag, &other.from_tag)
            && same(&self.to_tag, &other.to_tag)
            && same(&self.branch, &other.branch)
    }
}

/// Whether a header line ends without CR. sipnat and PBXs accept such a line end, `rsip` does not.
fn breaks_lines_oddly(text: &[u8]) -> bool {
    let headers = text.windows(4).position(|w| w == b"\r\n\r\n");
    let text = &text[..headers.unwrap_or(text.len())];
    let mut lines = text.split(|b| *b == b'\n');
    lines.next_back();
    lines.any(|line| line.last() != Some(&b'\r'))
}
