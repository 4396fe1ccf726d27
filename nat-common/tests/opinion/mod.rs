//! Two readings of one message: the scanner's, and that of the `rsip` crate.

use nat_common::bpf::HostLoop;
use nat_common::sip::Field;
use nat_common::sip::Scan;
use rsip::prelude::*;

/// What both parsers can be asked about.
#[derive(Debug, PartialEq)]
pub(crate) struct Identity {
    call_id: String,
    cseq: u32,
    from_tag: String,
    to_tag: String,
    branch: String,
}

/// The scanner's reading; `None` if it is in doubt.
pub(crate) fn first(text: &[u8]) -> Option<Identity> {
    let mut scan = Scan::default();
    scan.run::<_, HostLoop>(text, None).ok()?;
    let part = |field| {
        let span = scan.message.span(field);
        let part = &text[span.start.into()..][..span.len.into()];
        String::from_utf8_lossy(part).into_owned()
    };
    Some(Identity {
        call_id: part(Field::CallId),
        cseq: scan.message.cseq,
        from_tag: part(Field::FromTag),
        to_tag: part(Field::ToTag),
        branch: part(Field::Branch),
    })
}

/// `rsip`'s reading; `None` if it refuses any part, or is not asked: for it, only CRLF ends a line, and the `://`
/// of the Request-URI may be lines away. It panics on some messages.
pub(crate) fn second(text: &[u8]) -> Option<Identity> {
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
    /// `rsip` finds no tag or branch in what it cannot parse, cuts them off at a character that the scanner lets
    /// pass in a token, and takes the trailing white space of a Call-ID for part of it.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let same = |ours: &str, other: &str| {
            let token = ours.split(|c| "=/:@[]".contains(c)).next();
            other.is_empty() || ours == other || token == Some(other)
        };
        self.call_id == other.call_id.trim_end_matches([' ', '\t'])
            && self.cseq == other.cseq
            && same(&self.from_tag, &other.from_tag)
            && same(&self.to_tag, &other.to_tag)
            && same(&self.branch, &other.branch)
    }
}

/// Whether a line of the headers ends without CR, which ends it for sipnat, as it does for PBXs.
fn breaks_lines_oddly(text: &[u8]) -> bool {
    let headers = text.windows(4).position(|w| w == b"\r\n\r\n");
    let text = &text[..headers.unwrap_or(text.len())];
    let mut lines = text.split(|b| *b == b'\n');
    lines.next_back();
    lines.any(|line| line.last() != Some(&b'\r'))
}
