//! Choices without branches.

/// Returns 1 if a number is negative, otherwise 0.
///
/// `a ^ (a ^ b) * sign(x)` chooses one of two values, and the verifier follows one way. In the kernel it is assembly, because
/// the compiler would make a branch of it. An arithmetic shift will not do: the verifier of 6.12 follows both of its results.
#[inline(always)]
#[must_use]
pub fn sign(x: i64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut sign = x as u64;
        // SAFETY: a shift.
        unsafe {
            core::arch::asm!("{x} >>= 63", x = inout(reg) sign, options(nomem, pure, nostack));
        }
        sign
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        x as u64 >> 63
    }
}
