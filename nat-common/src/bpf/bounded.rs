//! Indices that the verifier can bound.

/// Returns `index` modulo `N`, which must be a power of two.
///
/// In the kernel assembly applies the mask right before the index is used, because the verifier must see it there. The
/// compiler would move or drop a mask that it considers redundant.
#[inline(always)]
#[must_use]
pub fn bounded<const N: usize>(index: usize) -> usize {
    const { assert!(N.is_power_of_two()) };
    #[cfg(target_arch = "bpf")]
    {
        let mut index = index;
        // SAFETY: a bitwise and.
        unsafe {
            core::arch::asm!("{i} &= {mask}", i = inout(reg) index, mask = const N - 1, options(nomem, pure, nostack));
        }
        index
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        index & (N - 1)
    }
}
