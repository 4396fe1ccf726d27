//! Atomic operations on memory that is shared with other CPUs.
//!
//! Rust's BPF target has no compare-and-swap in `core`, though the kernel has it since 5.12.
//!
//! [`Word::replace`] and [`Word::fetch_add`] are full barriers; [`Word::add`], [`Word::set`] and [`Word::unset`] are none. The BPF of older kernels has no
//! other barriers. On x86-64 [`Word::load`] and [`Word::store`] need none: the CPU neither moves a read before a read
//! nor a write before a write or a read (AMD64 Architecture Programmer's Manual, volume 2, 7.2). On 64-bit ARM the CPU does,
//! so there they are exchanges that return the old value: full barriers, too (Arm Architecture Reference Manual, B2.3,
//! barrier-ordered-before).
//!
//! ```
//! use nat_common::bpf::atomic::Word;
//!
//! let mut memory = 7;
//! // SAFETY: the word is valid and nothing else accesses it.
//! let word = unsafe { Word::new(&raw mut memory) };
//! assert!(word.replace(7, 8));
//! assert!(!word.replace(7, 9));
//! assert_eq!(word.fetch_add(1), 8);
//! assert_eq!(word.load(), 9);
//! word.set(6);
//! word.unset(9);
//! assert_eq!(word.load(), 6);
//! ```

/// 64-bit word in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Word(*mut u64);

impl Word {
    /// Returns the word at an address.
    ///
    /// # Safety
    /// `at` must be aligned to eight bytes and valid for reads and writes while the result is used. Others must access it
    /// only atomically.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(at: *mut u64) -> Self {
        Self(at)
    }

    /// Reads the value without any order, as a hint.
    #[inline(always)]
    #[must_use]
    pub fn peek(self) -> u64 {
        // SAFETY: valid by `new`. Every machine that runs BPF loads an aligned word in one access.
        unsafe { self.0.read_volatile() }
    }

    /// Reads the value, in the order of the program with respect to all other reads.
    #[inline(always)]
    #[must_use]
    pub fn load(self) -> u64 {
        arch::load(self.0)
    }

    /// Replaces `old` by `new`. Returns false, and changes nothing, if the value was not `old`.
    #[inline(always)]
    #[must_use]
    pub fn replace(self, old: u64, new: u64) -> bool {
        arch::compare_exchange(self.0, old, new) == old
    }

    /// Stores a value after all earlier reads and writes.
    #[inline(always)]
    pub fn store(self, value: u64) {
        arch::store(self.0, value);
    }

    /// Adds to the value. Returns the old value.
    #[inline(always)]
    #[must_use]
    pub fn fetch_add(self, value: u64) -> u64 {
        arch::fetch_add(self.0, value)
    }

    /// Sets bits.
    #[inline(always)]
    pub fn set(self, bits: u64) {
        arch::or(self.0, bits);
    }

    /// Clears bits.
    #[inline(always)]
    pub fn unset(self, bits: u64) {
        arch::and(self.0, !bits);
    }

    /// Adds to the value.
    #[inline(always)]
    pub fn add(self, value: u64) {
        arch::add(self.0, value);
    }
}

#[cfg(target_arch = "bpf")]
mod arch {
    use core::arch::asm;

    // No `asm!` here has the option `nomem`: the compiler keeps the order of memory accesses, too.

    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn load(at: *mut u64) -> u64 {
        let value;
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("{v} = *(u64 *)({at} + 0)", at = in(reg) at, v = out(reg) value);
        }
        value
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) fn load(at: *mut u64) -> u64 {
        let mut value = 0;
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("{v} = atomic_fetch_or((u64 *)({at} + 0), {v})", at = in(reg) at, v = inout(reg) value);
        }
        value
    }

    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn store(at: *mut u64, value: u64) {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("*(u64 *)({at} + 0) = {v}", at = in(reg) at, v = in(reg) value);
        }
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) fn store(at: *mut u64, value: u64) {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("{v} = xchg_64({at} + 0, {v})", at = in(reg) at, v = inout(reg) value => _);
        }
    }

    #[inline(always)]
    pub(super) fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64 {
        let found;
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("r0 = cmpxchg_64({at} + 0, r0, {new})", at = in(reg) at, new = in(reg) new, inout("r0") old => found);
        }
        found
    }

    #[inline(always)]
    pub(super) fn fetch_add(at: *mut u64, mut value: u64) -> u64 {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("{v} = atomic_fetch_add((u64 *)({at} + 0), {v})", at = in(reg) at, v = inout(reg) value);
        }
        value
    }

    #[inline(always)]
    pub(super) fn add(at: *mut u64, value: u64) {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("lock *(u64 *)({at} + 0) += {v}", at = in(reg) at, v = in(reg) value);
        }
    }

    #[inline(always)]
    pub(super) fn or(at: *mut u64, value: u64) {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("lock *(u64 *)({at} + 0) |= {v}", at = in(reg) at, v = in(reg) value);
        }
    }

    #[inline(always)]
    pub(super) fn and(at: *mut u64, value: u64) {
        // SAFETY: `Word::new` promises a valid word.
        unsafe {
            asm!("lock *(u64 *)({at} + 0) &= {v}", at = in(reg) at, v = in(reg) value);
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
mod arch {
    use core::sync::atomic::{AtomicU64, Ordering, fence};

    fn word<'a>(at: *mut u64) -> &'a AtomicU64 {
        // SAFETY: `Word::new` promises a valid word, which is only accessed atomically.
        unsafe { AtomicU64::from_ptr(at) }
    }

    pub(super) fn load(at: *mut u64) -> u64 {
        // A load alone would not keep earlier reads before it. The memory may be mapped for reads only.
        fence(Ordering::SeqCst);
        let value = word(at).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    pub(super) fn store(at: *mut u64, value: u64) {
        word(at).store(value, Ordering::Release);
    }

    pub(super) fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64 {
        let found = word(at).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        // The exchange alone would let later writes pass its own.
        fence(Ordering::SeqCst);
        match found {
            Ok(found) | Err(found) => found,
        }
    }

    pub(super) fn fetch_add(at: *mut u64, value: u64) -> u64 {
        let old = word(at).fetch_add(value, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    pub(super) fn add(at: *mut u64, value: u64) {
        word(at).fetch_add(value, Ordering::Relaxed);
    }

    pub(super) fn or(at: *mut u64, value: u64) {
        word(at).fetch_or(value, Ordering::Relaxed);
    }

    pub(super) fn and(at: *mut u64, value: u64) {
        word(at).fetch_and(value, Ordering::Relaxed);
    }
}
