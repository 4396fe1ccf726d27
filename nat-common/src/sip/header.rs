//! Bits of [`Message::headers`](super::Message::headers).
//!
//! ```
//! use nat_common::sip::{self, Doubt, header};
//!
//! let text = b"OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP phone;branch=z9hG4bK7\r\nFrom: <sip:a@pbx>;tag=1\r\n\
//!     To: <sip:a@pbx>\r\nCall-ID: 7@phone\r\nCSeq: 1 OPTIONS\r\nRoute: <sip:pbx;lr>\r\n\r\n";
//! let message = sip::read(text)?;
//! assert_eq!(message.headers, header::MANDATORY | header::ROUTE);
//! # Ok::<(), Doubt>(())
//! ```

/// Via is present.
pub const VIA: u8 = 1;
/// From is present.
pub const FROM: u8 = 1 << 1;
/// To is present.
pub const TO: u8 = 1 << 2;
/// Call-ID is present.
pub const CALL_ID: u8 = 1 << 3;
/// CSeq is present.
pub const CSEQ: u8 = 1 << 4;
/// Route is present.
pub const ROUTE: u8 = 1 << 5;
/// Expires is present.
pub const EXPIRES: u8 = 1 << 6;
/// Authorization or Proxy-Authorization is present (RFC 3261 22).
pub const CREDENTIALS: u8 = 1 << 7;
/// Headers that RFC 3261 8.1.1 demands in every message. Max-Forwards is not read here.
pub const MANDATORY: u8 = VIA | FROM | TO | CALL_ID | CSEQ;
