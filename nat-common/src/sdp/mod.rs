//! Session descriptions (SDP, RFC 8866) in SIP messages: addresses and ports of media.
//!
//! [`read`] takes a SIP message and returns a [`Description`] of its body: for each of the first [`MAX_LINES`] `m=` lines
//! the address and port of media and of RTCP, and what sipnat must know of its attributes. The body is the one that
//! Content-Type, Content-Encoding and Content-Length declare, or the first description of a multipart body.
//!
//! ```
//! use nat_common::sdp::{self, Kind, LineFlags, NoDescription, Transport};
//!
//! let text = b"INVITE sip:2000@pbx SIP/2.0\r\n\
//!     Content-Type: application/sdp\r\n\
//!     Content-Length: 78\r\n\
//!     \r\n\
//!     v=0\r\n\
//!     c=IN IP4 192.168.1.10\r\n\
//!     m=audio 4000 RTP/AVP 0 8\r\n\
//!     a=rtcp-mux\r\n\
//!     a=sendonly\r\n";
//! let description = sdp::read(text)?;
//!
//! assert_eq!(description.count, 1);
//! let [audio, ..] = &description.lines;
//! assert_eq!((audio.kind, audio.transport), (Kind::Audio, Transport::Rtp));
//! assert_eq!((audio.media().as_v4(), audio.port), ([192, 168, 1, 10], 4000));
//! assert_eq!(audio.flags, LineFlags::MUX | LineFlags::NO_RECEIVE);
//!
//! let no_body = &text[..60];
//! assert_eq!(sdp::read(no_body), Err(NoDescription::Absent));
//! # Ok::<(), NoDescription>(())
//! ```
//!
//! The kernel programs call [`Scan::run`], as they do with the scanner of SIP.

mod description;
mod none;
mod scan;

pub use description::{Description, Kind, LineFlags, MAX_LINES, MediaLine, Transport};
pub use none::NoDescription;
pub use scan::Scan;

use crate::bpf::HostLoop;
use crate::sip::Content;

/// Reads the description in a SIP message.
///
/// # Errors
/// [`NoDescription`] if there is none, or if it can be read in two ways.
pub fn read(message: &[u8]) -> Result<Description, NoDescription> {
    let mut scan = Scan::default();
    scan.run::<[u8], HostLoop, HostLoop>(message, &Content::default())?;
    Ok(scan.description)
}
