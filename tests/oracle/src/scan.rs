//! Scans for one direction.

use nat_common::bpf::HostLoop;
use nat_common::bytes::Span;
use nat_common::sip::{Direction, Doubt, Message, Scan};

/// Scans a message for the fields that its direction needs. [`nat_common::sip::read`] scans for all fields.
pub fn scan_for(text: &[u8], direction: Direction) -> Result<Message, Doubt> {
    scanned_for(text, direction).map(|scan| *scan.message())
}

/// Scans a message as [`scan_for`] does. Returns all that was found.
pub(crate) fn scanned_for(text: &[u8], direction: Direction) -> Result<Scan, Doubt> {
    let mut scan = Scan::default();
    scan.run::<_, HostLoop>(text, Some(direction))?;
    Ok(scan)
}

/// Returns the bytes of a part of a message.
///
/// # Panics
///
/// If the part is not inside of the message.
pub fn part(text: &[u8], span: Span) -> &[u8] {
    &text[span.start.into()..][..span.len.into()]
}
