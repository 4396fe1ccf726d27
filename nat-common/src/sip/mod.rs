//! SIP messages: a scanner for the parts that identify a dialog, a transaction and a registration.
//!
//! [`read`] takes one UDP payload and returns a [`Message`], which holds positions in that payload. The scanner
//! allocates and copies nothing. It does not validate a whole message: a header that it does not need may be malformed, and
//! a malformed Contact counts as none. It reads what devices write beside RFC 3261 25.1. Where a header that it needs could
//! be read in two ways, it returns a [`Doubt`] instead of a guess.
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use nat_common::sip::{self, Doubt, Field, Method};
//!
//! let text = b"INVITE sip:2000@pbx.example.com SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK776asdhds\r\n\
//!     From: \"Alice\" <sip:1000@pbx.example.com>;tag=1928301774\r\n\
//!     To: <sip:2000@pbx.example.com>\r\n\
//!     Call-ID: a84b4c76e66710\r\n\
//!     CSeq: 314159 INVITE\r\n\
//!     Contact: <sip:1000@192.168.1.10:5062>\r\n\
//!     \r\n";
//! let message = sip::read(text)?;
//!
//! assert!(message.is_request());
//! assert_eq!(message.method, Method::Invite);
//! assert_eq!(message.cseq, 314159);
//! assert_eq!(message.text(Field::CallId, text), Some(&b"a84b4c76e66710"[..]));
//! assert_eq!(message.text(Field::FromTag, text), Some(&b"1928301774"[..]));
//! // The callee has not answered yet.
//! assert_eq!(message.text(Field::ToTag, text), None);
//! assert_eq!(message.text(Field::Contact, text), Some(&b"1000@192.168.1.10:5062"[..]));
//! assert_eq!(Ipv4Addr::from(message.advertised.as_v4()), Ipv4Addr::new(192, 168, 1, 10));
//! assert_eq!(message.advertised.port, 5062);
//!
//! let cut_off = &text[..text.len() - 5];
//! assert_eq!(sip::read(cut_off), Err(Doubt::Truncated));
//! # Ok::<(), Doubt>(())
//! ```
//!
//! The kernel programs call [`Scan::run`]: there the scan's state lies in a map, and the loop depends on the kernel's
//! version (see [`Repeat`](crate::bpf::Repeat)).

mod direction;
mod doubt;
mod field;
pub mod header;
mod message;
mod method;
mod scan;

pub use direction::Direction;
pub use doubt::Doubt;
pub use field::{CONTACTS, Field, MAX_CONTACTS, READ_CONTACTS, SPANS, URIS};
pub use message::Message;
pub use method::Method;
pub use scan::{Content, MAX_SCAN, Scan};
pub(crate) use scan::{rounds, steps};

use crate::bpf::HostLoop;

/// Reads a message.
///
/// # Errors
/// A [`Doubt`] if a header that matters is missing, malformed or ambiguous.
pub fn read(text: &[u8]) -> Result<Message, Doubt> {
    let mut scan = Scan::default();
    scan.run::<[u8], HostLoop>(text, None)?;
    Ok(*scan.message())
}
