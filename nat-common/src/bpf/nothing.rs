//! End of a function that returns nothing.

/// Clears the register of return values.
///
/// The compiler may leave the address of something on the caller's stack there, which the verifier takes for a return value:
/// "cannot return stack pointer to the caller".
#[inline(always)]
pub fn nothing() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: it writes one register, and says so.
    unsafe {
        core::arch::asm!("r0 = 0", out("r0") _, options(nomem, nostack));
    }
}
