//! A copy of the message. In memory of our own a word is read without asking where the packet ends, and whoever reads it needs
//! no packet pointers, which tell to the verifier one state from another.

use core::arch::asm;

use nat_common::bpf::Repeat;
use nat_common::bpf::bounded;
use nat_common::bytes::Source;
use nat_common::sip::MAX_SCAN;

use crate::packet::{Context, Payload};

/// Bytes that there is room for: a power of two, so that what is masked is in bounds.
const ROOM: usize = 0x4000;
/// Bytes that are copied at once.
const CHUNK: u32 = 256;
/// Zeros after the message: more than any step looks ahead.
const AHEAD: u32 = 64;

const _: () = assert!(MAX_SCAN + AHEAD < ROOM as u32);

/// A message, and zeros after it. Beyond those is what was left by others: nobody may ask for a word there.
#[repr(C, align(8))]
pub(crate) struct Text {
    len: u32,
    /// How much of it has been copied.
    at: u32,
    /// The room, and what is too much of a chunk at its very end.
    bytes: Bytes,
}

type Bytes = [u8; ROOM + CHUNK as usize];

/// Where the byte at `at` is; there is room for a chunk.
#[inline(always)]
fn place(bytes: *const Bytes, at: u32) -> *const u8 {
    bytes
        .cast::<u8>()
        .wrapping_add(bounded::<ROOM>(at as usize))
}

impl Text {
    /// Copies a message, or so much of it as is ever looked at.
    #[inline(always)]
    pub(crate) fn copy<C: Context, L: Repeat>(&mut self, payload: &Payload<'_, C>) {
        self.len = payload.len();
        let end = self.len.min(MAX_SCAN);
        // SAFETY: a valid reference. Volatile, so that it stays in memory (see `crate::repeat`).
        unsafe { (&raw mut self.at).write_volatile(0) };
        L::repeat(end / CHUNK + 1, || {
            // SAFETY: as above.
            let at = unsafe { (&raw const self.at).read_volatile() };
            if at + CHUNK > end || !self.copy_chunk(payload, at) {
                return false;
            }
            // SAFETY: as above.
            unsafe { (&raw mut self.at).write_volatile(at + CHUNK) };
            true
        });
        if end < CHUNK {
            for word in 0..CHUNK / 8 {
                self.store(word * 8, payload.word(word * 8));
            }
        } else if !self.copy_chunk(payload, end - CHUNK) {
            // The rest, with what was copied before it, was found in the frame before. Else there is no message.
            self.len = 0;
        }
        for word in 0..AHEAD / 8 {
            self.store(end + word * 8, 0);
        }
    }

    /// Copies the chunk at `at`. False if the message is shorter.
    #[inline(always)]
    fn copy_chunk<C: Context>(&mut self, payload: &Payload<'_, C>, at: u32) -> bool {
        let Some(from) = payload.piece::<{ CHUNK as usize }>(at) else {
            return false;
        };
        let to = place(&raw mut self.bytes, at);
        macro_rules! copy {
            ($($word:literal)*) => {
                // SAFETY: both are `CHUNK` bytes. In assembly, since BPF may read and write at any alignment, and the
                // compiler would go byte by byte.
                unsafe {
                    asm!(
                        $(
                            concat!("{word} = *(u64 *)({from} + ", $word, ")"),
                            concat!("*(u64 *)({to} + ", $word, ") = {word}"),
                        )*
                        from = in(reg) from,
                        to = in(reg) to,
                        word = out(reg) _,
                        options(nostack),
                    );
                }
            };
        }
        copy!(
            0 8 16 24 32 40 48 56 64 72 80 88 96 104 112 120 128 136 144 152 160 168 176 184 192 200 208 216 224 232 240 248
        );
        true
    }

    /// Writes eight bytes at `at`.
    #[inline(always)]
    fn store(&mut self, at: u32, word: u64) {
        // SAFETY: there is room for more. In assembly, as above.
        unsafe {
            asm!(
                "*(u64 *)({to} + 0) = {word}",
                to = in(reg) place(&raw mut self.bytes, at),
                word = in(reg) word,
                options(nostack),
            );
        }
    }
}

impl Source for Text {
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let word;
        // SAFETY: there is room for more. In assembly, as above.
        unsafe {
            asm!(
                "{word} = *(u64 *)({from} + 0)",
                from = in(reg) place(&raw const self.bytes, at),
                word = out(reg) word,
                options(readonly, pure, nostack),
            );
        }
        word
    }

    #[inline(always)]
    fn wide_word(&self, at: u32) -> [u64; 4] {
        let (first, second, third, fourth);
        // SAFETY: as in `word`.
        unsafe {
            asm!(
                "{first} = *(u64 *)({from} + 0)",
                "{second} = *(u64 *)({from} + 8)",
                "{third} = *(u64 *)({from} + 16)",
                "{fourth} = *(u64 *)({from} + 24)",
                from = in(reg) place(&raw const self.bytes, at),
                first = out(reg) first,
                second = out(reg) second,
                third = out(reg) third,
                fourth = out(reg) fourth,
                options(readonly, pure, nostack),
            );
        }
        [first, second, third, fourth]
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }
}
