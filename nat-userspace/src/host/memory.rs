//! Memory of this process.

/// Gives back to the kernel what was freed. Loading takes some 90 MB for a while: aya reads all types of the kernel.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
