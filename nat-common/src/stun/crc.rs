//! FINGERPRINT of a STUN message: the CRC-32 of all bytes before it, XORed (RFC 8489 14.7).
//!
//! ```
//! use nat_common::bpf::HostLoop;
//! use nat_common::bytes::Source;
//! use nat_common::stun::crc::{Cursor, fingerprint};
//!
//! // The check value of this CRC-32, of "123456789", is 0xcbf43926; here is that of eight bytes.
//! let text = &b"12345678"[..];
//! let word = |at| text.word(at) as u32;
//! let print = fingerprint::<HostLoop>(word, 8, &mut Cursor::default());
//! assert_eq!(print, 0x9ae0_daaf ^ 0x5354_554e);
//! ```

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bpf::Repeat;

/// Value that makes a FINGERPRINT differ from a CRC of the application's own: "STUN".
const XOR: u32 = 0x5354_554e;
/// Polynomial of ITU V.42 8.1.1.6.2, its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// CRCs: `TABLES[n][b]` is that of the byte `b` followed by `n` zero bytes, so that one step takes four bytes.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][b] = crc;
        b += 1;
    }
    let mut n = 1;
    while n < 4 {
        let mut b = 0;
        while b < 256 {
            let before = tables[n - 1][b];
            tables[n][b] = before >> 8 ^ tables[0][before as usize & 0xff];
            b += 1;
        }
        n += 1;
    }
    tables
}

/// Progress of a CRC. In the kernel it lies in a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Cursor {
    at: u32,
    crc: u32,
}

/// Returns the FINGERPRINT of the first `len` bytes of a message. `len` must be a multiple of four.
///
/// `word` reads four bytes at a position, the first in the lowest byte.
#[inline(always)]
pub fn fingerprint<L: Repeat>(word: impl Fn(u32) -> u32, len: u32, cursor: &mut Cursor) -> u32 {
    cursor.at = 0;
    cursor.crc = !0;
    L::repeat(u32::from(u16::MAX) / 4 + 2, || {
        let at = cursor.at;
        if at >= len {
            return false;
        }
        let [b0, b1, b2, b3] = (cursor.crc ^ word(at)).to_le_bytes();
        cursor.crc = TABLES[3][usize::from(b0)]
            ^ TABLES[2][usize::from(b1)]
            ^ TABLES[1][usize::from(b2)]
            ^ TABLES[0][usize::from(b3)];
        cursor.at = at + 4;
        true
    });
    !cursor.crc ^ XOR
}
