//! FINGERPRINT: the CRC-32 of what comes before it, XORed (RFC 8489 14.7).

use crate::bpf::Repeat;

/// Makes a FINGERPRINT differ from a CRC of the application's own: "STUN".
const XOR: u32 = 0x5354_554e;
/// The polynomial of ITU V.42 8.1.1.6.2, its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// `TABLES[n][b]` is the CRC of byte `b` followed by `n` zero bytes, so that four bytes are one step.
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

/// How far a CRC has come. In the kernel it lies in a map, as [`crate::tables::hash::Cursor`] does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    at: u32,
    crc: u32,
}

/// FINGERPRINT of the first `len` bytes, a multiple of four, of a message that `word` reads four bytes of, the first
/// in the lowest byte.
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
