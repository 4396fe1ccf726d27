//! Copy of the message in a map. A read there needs no packet bounds, and no packet pointers, which tell one verifier state
//! from another.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_csum_diff;
use nat_common::bpf::{Repeat, bounded};
use nat_common::bytes::{Class, Source, swar};
use nat_common::sip::MAX_SCAN;

use crate::datagram::Payload;
use crate::frame::Context;
use crate::maps;

/// Capacity in bytes: a power of two, so that a masked offset is in bounds.
const CAPACITY: usize = 0x4000;
/// Number of bytes that are copied at once.
const CHUNK: u32 = 256;
/// Number of zeros after the message: more than any step of the scanner looks ahead.
const AHEAD: u32 = 64;

const _: () = assert!(MAX_SCAN + AHEAD < CAPACITY as u32);

/// A message, and zeros after it. Bytes of earlier messages follow: no reader may look there.
#[repr(C, align(8))]
pub(crate) struct Text {
    len: u32,
    /// Number of bytes copied, or summed.
    at: u32,
    /// Sum of the bytes before `at`.
    sum: u32,
    /// Not 0: the text is a whole datagram.
    whole: u32,
    /// Capacity, and two chunks more for a copy or a sum at its very end.
    bytes: Bytes,
}

type Bytes = [u8; CAPACITY + 2 * CHUNK as usize];

/// Returns the address of the byte at `at`; a chunk fits there.
#[inline(always)]
fn address(bytes: *const Bytes, at: u32) -> *const u8 {
    bytes
        .cast::<u8>()
        .wrapping_add(bounded::<CAPACITY>(at as usize))
}

impl Text {
    /// Copies a message, up to the length that the scanner reads.
    #[inline(always)]
    pub(crate) fn copy<C: Context, L: Repeat>(&mut self, payload: &Payload<'_, C>) {
        self.len = payload.len();
        self.whole = payload.is_whole().into();
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
            // The last chunk overlaps the one before. If it is not in the frame, there is no message.
            self.len = 0;
        }
        for word in 0..AHEAD / 8 {
            self.store(end + word * 8, 0);
        }
    }

    /// Returns the sum of the message's words, for a checksum. None if it is longer than what was copied.
    #[inline(always)]
    pub(crate) fn sum<L: Repeat>(&mut self) -> Option<u32> {
        if self.len > MAX_SCAN {
            return None;
        }
        let end = self.len;
        // SAFETY: a valid reference. Volatile, so that both stay in memory (see `crate::repeat`).
        unsafe {
            (&raw mut self.at).write_volatile(0);
            (&raw mut self.sum).write_volatile(0);
        }
        L::repeat(end / CHUNK + 1, || {
            // SAFETY: as above.
            let (at, sum) = unsafe {
                (
                    (&raw const self.at).read_volatile(),
                    (&raw const self.sum).read_volatile(),
                )
            };
            if at >= end {
                return false;
            }
            let left = end - at;
            // The helper takes multiples of four. Zeros follow the message.
            let bytes = if left > CHUNK { CHUNK } else { (left + 3) & !3 };
            let bytes = bounded::<{ 2 * CHUNK as usize }>(bytes as usize) as u32;
            let from = address(&raw const self.bytes, at);
            // SAFETY: a chunk, and another one, fit there.
            let sum = unsafe {
                bpf_csum_diff(core::ptr::null_mut(), 0, from.cast_mut().cast(), bytes, sum)
            };
            // SAFETY: as above.
            unsafe {
                (&raw mut self.at).write_volatile(at + CHUNK);
                (&raw mut self.sum).write_volatile(sum as u32);
            }
            true
        });
        // SAFETY: as above.
        Some(unsafe { (&raw const self.sum).read_volatile() })
    }

    /// Copies the chunk at `at`. False if the message is shorter.
    #[inline(always)]
    fn copy_chunk<C: Context>(&mut self, payload: &Payload<'_, C>, at: u32) -> bool {
        let Some(from) = payload.pointer::<{ CHUNK as usize }>(at) else {
            return false;
        };
        let to = address(&raw mut self.bytes, at);
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
        // SAFETY: a chunk fits there. In assembly, as above.
        unsafe {
            asm!(
                "*(u64 *)({to} + 0) = {word}",
                to = in(reg) address(&raw mut self.bytes, at),
                word = in(reg) word,
                options(nostack),
            );
        }
    }
}

/// Defines a function for each class of bytes. Each is verified once: the scanner calls it in many states.
macro_rules! classes {
    ($($name:ident = $class:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $name(text: *const Text, at: u32) -> u64 {
                if text.is_null() {
                    return 0;
                }
                // SAFETY: it comes from a reference.
                Class::$class.find(unsafe { &*text }.wide_word(at))
            }
        )*

        /// Finds the bytes of a class.
        #[inline(always)]
        fn find(text: &Text, at: u32, class: Class) -> u64 {
            match class {
                $(
                    // SAFETY: a valid reference.
                    Class::$class => unsafe { $name(text, at) },
                )*
            }
        }
    };
}

classes! {
    find_uri_end = UriEnd
    find_uri_separator = UriSeparator
    find_quote = Quote
    find_name_end = NameEnd
    find_token_end = TokenEnd
    find_params_end = ParamsEnd
    find_request_uri_end = RequestUriEnd
    find_b = B
    find_semicolon = Semicolon
    find_space = Space
}

impl Source for Text {
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let word;
        // SAFETY: a chunk fits there. In assembly, as above.
        unsafe {
            asm!(
                "{word} = *(u64 *)({from} + 0)",
                from = in(reg) address(&raw const self.bytes, at),
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
                from = in(reg) address(&raw const self.bytes, at),
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
    fn controls(&self, at: u32) -> u64 {
        let mut others = 0_u64;
        macro_rules! block {
            ($($word:literal: $shift:literal)*) => {
                // SAFETY: a chunk fits there. In assembly, as above; and the compiler would load the constants for each word.
                unsafe {
                    asm!(
                        $(
                            concat!("{word} = *(u64 *)({from} + ", $word, ")"),
                            "{mask} = {word}",
                            "{mask} &= {low}",
                            "{mask} += {add}",
                            "{mask} |= {word}",
                            "{mask} &= {tops}",
                            "{mask} *= {pack}",
                            "{mask} >>= 56",
                            concat!("{mask} <<= ", $shift),
                            "{others} |= {mask}",
                        )*
                        from = in(reg) address(&raw const self.bytes, at),
                        low = in(reg) !swar::TOPS,
                        add = in(reg) swar::TO_TOP,
                        tops = in(reg) swar::TOPS,
                        pack = in(reg) swar::PACK,
                        word = out(reg) _,
                        mask = out(reg) _,
                        others = inout(reg) others,
                        options(readonly, pure, nostack),
                    );
                }
            };
        }
        block!(0: 0 8: 8 16: 16 24: 24 32: 32 40: 40 48: 48 56: 56);
        !others
    }

    #[inline(always)]
    fn find(&self, at: u32, class: Class) -> u64 {
        find(self, at, class)
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        self.whole != 0
    }

    #[inline(always)]
    fn is_body_wanted(&self) -> bool {
        maps::is_media_on()
    }
}
