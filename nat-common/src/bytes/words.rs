//! Memory, filled and copied word by word.
//!
//! The kernel has no `memset` and `memcpy` that a program could call, and the compiler's own go byte by byte. Writes here
//! are volatile, so that the compiler does not put those calls in.
//!
//! ```
//! use nat_common::bytes::words;
//!
//! let mut hash = [7_u64; 2];
//! words::assign(&mut hash, &[1, 2]);
//! assert_eq!(hash, [1, 2]);
//! words::clear(&mut hash);
//! assert_eq!(hash, [0, 0]);
//! ```
//!
//! A type that is not made of aligned words does not compile:
//!
//! ```compile_fail
//! nat_common::bytes::words::assign(&mut [0_u32; 2], &[1, 2]);
//! ```

use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Writes zeros to all of it.
#[inline(always)]
pub fn clear<T: FromZeros>(to: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within the value, by the assertion; zeros are one of its values.
        unsafe { (&raw mut *to).cast::<u64>().add(word).write_volatile(0) };
    }
}

/// Copies a value.
#[inline(always)]
pub fn assign<T: FromBytes + IntoBytes>(to: &mut T, from: &T) {
    // SAFETY: valid references.
    unsafe { copy(from, to) };
}

/// Copies a value out of or into memory that other CPUs may write meanwhile; the copy may then mix two values.
///
/// # Safety
/// Both pointers must be valid and aligned.
#[inline(always)]
pub unsafe fn copy<T: FromBytes>(from: *const T, to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within both values, by the caller's promise and the assertion; any bits make a value.
        unsafe {
            to.cast::<u64>()
                .add(word)
                .write_volatile(from.cast::<u64>().add(word).read_volatile());
        };
    }
}
