//! A copy of the message. In memory of our own a word is read without asking where the packet ends, and whoever reads it needs
//! no packet pointers, which tell to the verifier one state from another.

use core::arch::asm;
use core::mem::offset_of;

use nat_common::scan::MAX_SCAN;
use nat_common::source::{Repeat, Source};

use crate::packet::{Context, Payload};

/// Bytes that there is room for: a power of two, so that what is masked is in bounds.
const ROOM: usize = 0x4000;
/// Bytes that are copied at once.
const CHUNK: usize = 32;
/// Bytes after the message that are zeros, or what follows of it after what is scanned: more than any step looks ahead.
const AHEAD: u32 = 64;

const _: () = assert!(MAX_SCAN + AHEAD < ROOM as u32 && offset_of!(Text, bytes).is_multiple_of(8));

/// A message, and zeros after it. Beyond those is what was left by others: nobody may ask for a word there.
#[repr(C, align(8))]
pub(crate) struct Text {
    len: u32,
    /// How much of it has been copied.
    at: u32,
    /// The room, and what a word at its very end would have too much.
    bytes: [u8; ROOM + 8],
}

impl Text {
    /// Copies a message, or so much of it as is ever looked at.
    #[inline(always)]
    pub(crate) fn copy<C: Context, L: Repeat>(&mut self, payload: &Payload<'_, C>) {
        self.len = payload.len();
        let end = self.len.min(MAX_SCAN) + AHEAD;
        // SAFETY: a valid reference. Volatile, so that it stays in memory (see `crate::repeat`).
        unsafe { (&raw mut self.at).write_volatile(0) };
        L::repeat(end / CHUNK as u32 + 1, || {
            // SAFETY: as above.
            let at = unsafe { (&raw const self.at).read_volatile() };
            if at >= end {
                return false;
            }
            let mut place = u64::from(at);
            // SAFETY: what is masked is at least CHUNK before the end of the room, and a multiple of it.
            unsafe {
                asm!("{place} &= {mask}", place = inout(reg) place, mask = const ROOM - CHUNK, options(nomem, pure, nostack));
                let to = (&raw mut self.bytes).cast::<u8>().add(place as usize);
                let to = to.cast::<u64>();
                // One by one, or the compiler puts them on the stack first.
                let [first, second, third, fourth] = payload.words(at);
                to.write_volatile(first);
                to.add(1).write_volatile(second);
                to.add(2).write_volatile(third);
                to.add(3).write_volatile(fourth);
                (&raw mut self.at).write_volatile(at + CHUNK as u32);
            }
            true
        });
    }
}

impl Source for Text {
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let mut place = u64::from(at);
        let word;
        // SAFETY: what is masked is in the room, and eight bytes from there are. In assembly, since BPF may read at any
        // alignment and the compiler would read byte by byte.
        unsafe {
            asm!("{place} &= {mask}", place = inout(reg) place, mask = const ROOM - 1, options(nomem, pure, nostack));
            let from = (&raw const self.bytes).cast::<u8>().add(place as usize);
            asm!(
                "{word} = *(u64 *)({from} + 0)",
                from = in(reg) from,
                word = out(reg) word,
                options(readonly, pure, nostack),
            );
        }
        word
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }
}
