//! What one pass over a SIP message finds.

use crate::bytes::Span;
use crate::endpoint::Endpoint;

/// The way of a message.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a terminal to the PBX.
    In = 0,
    /// From the PBX.
    Out,
}

/// Methods known here, of RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086 and 6665: the others are told from
/// one another by nothing.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// A method that is none of the others.
    #[default]
    Other = 0,
    /// INVITE
    Invite,
    /// ACK
    Ack,
    /// BYE
    Bye,
    /// CANCEL
    Cancel,
    /// REGISTER
    Register,
    /// SUBSCRIBE
    Subscribe,
    /// NOTIFY
    Notify,
    /// REFER
    Refer,
    /// UPDATE
    Update,
    /// INFO
    Info,
    /// PRACK
    Prack,
    /// MESSAGE
    Message,
    /// OPTIONS
    Options,
    /// PUBLISH
    Publish,
}

impl Method {
    /// From a map value; what is not known counts as [`Method::Other`].
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Invite,
            2 => Self::Ack,
            3 => Self::Bye,
            4 => Self::Cancel,
            5 => Self::Register,
            6 => Self::Subscribe,
            7 => Self::Notify,
            8 => Self::Refer,
            9 => Self::Update,
            10 => Self::Info,
            11 => Self::Prack,
            12 => Self::Message,
            13 => Self::Options,
            14 => Self::Publish,
            _ => Self::Other,
        }
    }

    /// As a request line writes it; `other` for one that is not known.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Message => "MESSAGE",
            Self::Options => "OPTIONS",
            Self::Publish => "PUBLISH",
        }
    }

    /// Whether a request of this method may create a dialog (RFC 3261 12.1, 6665 4.4.1, 3515 2).
    #[inline(always)]
    #[must_use]
    pub const fn creates_dialog(self) -> bool {
        matches!(self, Self::Invite) || self.subscribes()
    }

    /// Whether a NOTIFY may come ahead of the answer to a request of this method (RFC 6665 4.4.1, 3515 2.4.4). An INVITE is
    /// answered before anything is sent within its dialog (RFC 3261 12.1).
    #[inline(always)]
    #[must_use]
    pub const fn subscribes(self) -> bool {
        matches!(self, Self::Subscribe | Self::Refer)
    }
}

/// Parts of a message that make up keys; indices of [`Message::spans`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Call-ID.
    CallId = 0,
    /// The branch of the topmost Via.
    Branch,
    /// The tag of From.
    FromTag,
    /// The tag of To.
    ToTag,
    /// Request-URI, without scheme.
    RequestUri,
    /// The URI of From, without scheme and parameters.
    FromUri,
    /// The URI of To, without scheme and parameters.
    ToUri,
    /// The URI of the first Contact, without scheme. The next seven follow.
    Contact,
}

impl Field {
    /// Its bit in a set of parts.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// How many Contacts of a message are looked at.
pub const MAX_CONTACTS: usize = 8;

/// The bits of all Contacts.
pub const CONTACTS: u32 = ((1 << MAX_CONTACTS) - 1) << Field::Contact as u32;

/// Slots in [`Message::spans`]: a power of two, so that a masked index is in bounds.
pub const SPANS: usize = 16;

/// Bits of [`Message::headers`].
pub mod header {
    /// Via.
    pub const VIA: u8 = 1;
    /// From.
    pub const FROM: u8 = 1 << 1;
    /// To.
    pub const TO: u8 = 1 << 2;
    /// Call-ID.
    pub const CALL_ID: u8 = 1 << 3;
    /// CSeq.
    pub const CSEQ: u8 = 1 << 4;
    /// Route.
    pub const ROUTE: u8 = 1 << 5;
    /// Expires.
    pub const EXPIRES: u8 = 1 << 6;
    /// What RFC 3261 8.1.1 wants in every message (Max-Forwards does not matter here).
    pub const MANDATORY: u8 = VIA | FROM | TO | CALL_ID | CSEQ;
}

/// A scanned message. All zero is a message of which nothing is known yet.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where the parts lie; see [`Field`].
    pub spans: [Span; SPANS],
    /// Where the first Contact points, if numeric.
    pub advertised: Endpoint,
    /// The `expires` parameter of each Contact, in seconds, plus one; 0 if there is none.
    pub contact_expires: [u32; MAX_CONTACTS],
    /// CSeq's number.
    pub cseq: u32,
    /// The Expires header, in seconds, if [`header::EXPIRES`] is set.
    pub expires: u32,
    /// Status of a response; 0 is a request.
    pub status: u16,
    /// Headers that were there; see [`header`].
    pub headers: u8,
    /// The request's method; of a response, CSeq's.
    pub method: Method,
    /// Via entries in all, up to 255.
    pub vias: u8,
    /// Record-Route entries, up to 255.
    pub record_routes: u8,
    /// Contacts, up to 255, of which [`MAX_CONTACTS`] are kept.
    pub contacts: u8,
    /// Whether there is a `Contact: *` (0 or 1).
    pub star: u8,
}

impl Message {
    /// Where a part lies.
    #[inline(always)]
    #[must_use]
    pub const fn span(&self, field: Field) -> Span {
        self.spans[field as usize & (SPANS - 1)]
    }

    /// Where the URI of the Contact at `index` lies.
    #[inline(always)]
    #[must_use]
    pub const fn contact(&self, index: usize) -> Span {
        self.spans[(Field::Contact as usize + index) & (SPANS - 1)]
    }

    /// The `expires` parameter of the Contact at `index`, in seconds (at most `u32::MAX - 1`).
    #[inline(always)]
    #[must_use]
    pub const fn contact_expires(&self, index: usize) -> Option<u32> {
        self.contact_expires[index & (MAX_CONTACTS - 1)].checked_sub(1)
    }

    /// Whether a part is there.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, field: Field) -> bool {
        !self.span(field).is_empty()
    }
}

/// Why the scanner will not vouch for a message. The packet is then left alone.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The headers go on past the end of the packet, or past what is scanned.
    Truncated = 1,
    /// A header that matters breaks the grammar.
    Syntax,
    /// A mandatory header is missing.
    Missing,
    /// What must be unique is there twice.
    Duplicate,
}
