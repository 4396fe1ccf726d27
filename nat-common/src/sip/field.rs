//! Parts of a message that make up keys.

/// Part of a message that goes into a key. Its number is an index into [`Message::spans`](super::Message::spans).
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
    /// The Request-URI, without its scheme.
    RequestUri,
    /// The URI of From, without scheme and parameters.
    FromUri,
    /// The URI of To, without scheme and parameters.
    ToUri,
    /// The URI of the first Contact, without its scheme. The next seven Contacts follow.
    Contact,
    /// The first byte after the name of the only Route header. Absent if there are several.
    Route = 15,
}

impl Field {
    /// Returns the bit of this field in a set of fields.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Number of Contacts that the scanner keeps. It only counts the others.
pub const MAX_CONTACTS: usize = 8;

/// Number of Contacts of a terminal's REGISTER whose addresses are read. Of the others only the first that lasts is.
pub const READ_CONTACTS: usize = 4;

/// Bits of all kept Contacts in a set of fields.
pub const CONTACTS: u32 = ((1 << MAX_CONTACTS) - 1) << Field::Contact as u32;

/// Bits of all URIs in a set of fields.
pub const URIS: u32 =
    CONTACTS | Field::RequestUri.bit() | Field::FromUri.bit() | Field::ToUri.bit();

/// Length of [`Message::spans`](super::Message::spans): a power of two, so that a masked index is in bounds.
pub const SPANS: usize = 16;

const _: () = assert!(Field::Contact as usize + MAX_CONTACTS <= Field::Route as usize);
const _: () = assert!(READ_CONTACTS <= MAX_CONTACTS && READ_CONTACTS.is_power_of_two());
