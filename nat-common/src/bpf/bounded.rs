//! Indices that the verifier can bound.

/// An index below `N`, a power of two. In the kernel the mask is applied where the verifier sees it; the
/// compiler would move or drop it when it knows better.
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
