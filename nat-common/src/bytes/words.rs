//! Filling and copying memory word by word. The kernel has no `memset` and `memcpy` that a program
//! could call, and the compiler's own go byte by byte; the writes are volatile so that it does not
//! put them in.

/// A type that is a whole number of aligned words, for which all zero is a value.
///
/// # Safety
/// Only implement it for such types.
pub unsafe trait Words: Copy {}

// SAFETY: they are words.
unsafe impl<const N: usize> Words for [u64; N] {}

/// Makes all of it zero.
///
/// # Safety
/// `to` must be valid for writes.
#[inline(always)]
pub unsafe fn zero<T: Words>(to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within the value, by the caller's promise and the assertion.
        unsafe { to.cast::<u64>().add(word).write_volatile(0) };
    }
}

/// Copies it.
///
/// # Safety
/// Both must be valid. If others write to `from` meanwhile, the copy may be of no use.
#[inline(always)]
pub unsafe fn copy<T: Words>(from: *const T, to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    // SAFETY: within both values, by the caller's promise and the assertion.
    unsafe { copy_words(from, to, size_of::<T>() / 8) };
}

/// Copies the first words.
///
/// # Safety
/// As for [`copy`], and every pattern of so many words must be one of `T`.
#[inline(always)]
pub unsafe fn copy_first<const WORDS: usize, F: Words, T: Words>(from: *const F, to: *mut T) {
    const { assert!(size_of::<F>() >= WORDS * 8 && size_of::<T>() >= WORDS * 8) };
    // SAFETY: as above.
    unsafe { copy_words(from, to, WORDS) };
}

#[inline(always)]
unsafe fn copy_words<F, T>(from: *const F, to: *mut T, words: usize) {
    const { assert!(align_of::<F>() == 8 && align_of::<T>() == 8) };
    for word in 0..words {
        // SAFETY: by the caller's promise.
        unsafe {
            to.cast::<u64>()
                .add(word)
                .write_volatile(from.cast::<u64>().add(word).read_volatile());
        };
    }
}
