//! The loop of the kernel.

use nat_common::source::Repeat;

/// A loop that the verifier takes for one that may end at any round, so it looks at one round only.
/// `may_goto` came with kernel 6.9; the kernel ends the loop by itself after eight million rounds.
pub(crate) struct MayGoto;

impl Repeat for MayGoto {
    #[inline(always)]
    fn repeat(_limit: u32, mut step: impl FnMut() -> bool) {
        loop {
            // SAFETY: jumps out of the loop or does nothing. It may be taken to touch memory, which
            // keeps the state of a step in memory between rounds.
            unsafe {
                core::arch::asm!("may_goto {out}", out = label { return });
            }
            if !step() {
                return;
            }
        }
    }
}
