//! Result of a scan.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::field::{Field, MAX_CONTACTS, SPANS};
use super::method::Method;
use crate::bytes::Span;
use crate::endpoint::Endpoint;

/// Result of a scan: positions of the parts that make up keys, and numbers. It does not hold the text itself.
///
/// The all-zero value is a message of which nothing was read.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Message {
    /// Positions of the parts; see [`Field`].
    pub spans: [Span; SPANS],
    /// Host and port of the Contact at [`Self::first_contact`], if the host is an IP address; otherwise unknown.
    pub advertised: Endpoint,
    /// The `expires` parameter of each Contact, in seconds, plus one; 0 if there is none. A malformed one stands for 3600 (RFC
    /// 3261 10.2.1.1).
    pub contact_expires: [u32; MAX_CONTACTS],
    /// Number of CSeq.
    pub cseq: u32,
    /// Value of the Expires header, in seconds, if [`header::EXPIRES`](super::header::EXPIRES) is set; 3600 if it is malformed.
    pub expires: u32,
    /// Status of a response; 0 for a request.
    pub status: u16,
    /// Headers that are present; see [`header`](super::header).
    pub headers: u8,
    /// Method of a request; for a response, that of its CSeq.
    pub method: Method,
    /// Number of Via entries, up to 255.
    pub vias: u8,
    /// Number of Record-Route entries, up to 255.
    pub record_routes: u8,
    /// Number of Contacts, up to 255, without malformed ones. The first [`MAX_CONTACTS`] are kept.
    pub contacts: u8,
    /// 1 for `Contact: *`, otherwise 0.
    pub star: u8,
    /// Index of the first Contact that no `expires=0` removes, if another one follows those that are removed.
    pub first_contact: u8,
}

impl Message {
    /// Returns the position of a part.
    #[inline(always)]
    #[must_use]
    pub const fn span(&self, field: Field) -> Span {
        self.spans[field as usize & (SPANS - 1)]
    }

    /// Returns the position of the URI of the Contact at `index`, without its scheme.
    #[inline(always)]
    #[must_use]
    pub const fn contact(&self, index: usize) -> Span {
        self.spans[(Field::Contact as usize + index) & (SPANS - 1)]
    }

    /// Returns the `expires` parameter of the Contact at `index`, in seconds (at most `u32::MAX - 1`).
    #[inline(always)]
    #[must_use]
    pub const fn contact_expires(&self, index: usize) -> Option<u32> {
        self.contact_expires[index & (MAX_CONTACTS - 1)].checked_sub(1)
    }

    /// Whether a part is present.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, field: Field) -> bool {
        !self.span(field).is_empty()
    }

    /// Returns the bytes of a part, or `None` if it is absent. `bytes` must be the text that was read.
    #[must_use]
    pub fn text<'b>(&self, field: Field, bytes: &'b [u8]) -> Option<&'b [u8]> {
        self.span(field).slice(bytes)
    }

    /// Whether the message is a request.
    #[inline(always)]
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.status == 0
    }
}
