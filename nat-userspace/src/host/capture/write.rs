//! Writes capture files, as pcap with times in nanoseconds.

use std::io::{self, Write};

use crate::host::capture::{Link, link::ETHERNET};

/// Writes a capture file.
#[derive(Debug)]
pub struct Writer<W> {
    file: W,
    raw: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the header of a file. Its link layer is Ethernet, or with `raw` none.
    ///
    /// # Errors
    /// If `file` cannot be written.
    pub fn new(mut file: W, raw: bool) -> io::Result<Self> {
        const MAGIC: u32 = 0xa1b2_3c4d;
        const VERSION: [u16; 2] = [2, 4];
        const LONGEST: u32 = 262_144;
        let link = if raw { 101_u32 } else { 1 };
        file.write_all(&MAGIC.to_ne_bytes())?;
        for number in VERSION {
            file.write_all(&number.to_ne_bytes())?;
        }
        // Time zone and accuracy, which nobody sets.
        for number in [0, 0, LONGEST, link] {
            file.write_all(&number.to_ne_bytes())?;
        }
        Ok(Self { file, raw })
    }

    /// Writes an Ethernet frame, of which `missing` bytes are not there. In a file without link layer, a frame without an IP packet is
    /// left out.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, time: u64, frame: &[u8], missing: usize) -> io::Result<()> {
        const SECOND: u64 = 1_000_000_000;
        const TAGS: [[u8; 2]; 2] = [[0x81, 0], [0x88, 0xa8]];
        let mut packet = frame;
        if self.raw {
            let mut at = ETHERNET;
            while frame
                .get(at - 2..at)
                .is_some_and(|t| TAGS.iter().any(|tag| tag == t))
            {
                at += 4;
            }
            packet = frame.get(at..).unwrap_or_default();
            if Link::Raw.payload(packet).is_none() {
                return Ok(());
            }
        }
        let len = packet.len();
        for number in [
            time / SECOND,
            time % SECOND,
            len as u64,
            (len + missing) as u64,
        ] {
            self.file.write_all(&(number as u32).to_ne_bytes())?;
        }
        self.file.write_all(packet)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}
