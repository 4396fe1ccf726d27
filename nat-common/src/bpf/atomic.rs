//! Atomic operations on memory that is shared with other CPUs.
//!
//! Rust's BPF target has no compare-and-swap in `core`, though the kernel has since 5.12. Those that change a word by what
//! it was are full barriers, but for `add`. The BPF of older kernels has no other barriers; x86-64 needs none for what is
//! promised here of the others, since it neither moves a read before a read nor a write before a write or a read (AMD64
//! Architecture Programmer's Manual, volume 2, 7.2).

/// A 64-bit word in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Word(*mut u64);

impl Word {
    /// The word at an address.
    ///
    /// # Safety
    /// `at` must be valid for reads and writes while this is used, aligned to eight bytes, and be
    /// accessed by others only atomically.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(at: *mut u64) -> Self {
        Self(at)
    }

    /// The value without any order: a hint.
    #[inline(always)]
    #[must_use]
    pub fn peek(self) -> u64 {
        // SAFETY: valid by `new`; the machines of BPF load an aligned word at once.
        unsafe { self.0.read_volatile() }
    }

    /// The value, read after what is read before, and before what is read after.
    #[inline(always)]
    #[must_use]
    pub fn load(self) -> u64 {
        arch::load(self.0)
    }

    /// Replaces `old` by `new`. False if it was not `old`.
    #[inline(always)]
    #[must_use]
    pub fn replace(self, old: u64, new: u64) -> bool {
        arch::compare_exchange(self.0, old, new) == old
    }

    /// Stores a value, after all that was read and written before.
    #[inline(always)]
    pub fn store(self, value: u64) {
        arch::store(self.0, value);
    }

    /// Adds to the value. What it was before.
    #[inline(always)]
    #[must_use]
    pub fn fetch_add(self, value: u64) -> u64 {
        arch::fetch_add(self.0, value)
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

    // Both may be taken to touch all of memory, so the compiler keeps the order, too.

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
}

#[cfg(not(target_arch = "bpf"))]
mod arch {
    use core::sync::atomic::{AtomicU64, Ordering};

    fn word<'a>(at: *mut u64) -> &'a AtomicU64 {
        // SAFETY: `Word::new` promises a valid word, which is only accessed atomically.
        unsafe { AtomicU64::from_ptr(at) }
    }

    pub(super) fn load(at: *mut u64) -> u64 {
        // A plain load would not keep what is read before it there.
        word(at).fetch_or(0, Ordering::SeqCst)
    }

    pub(super) fn store(at: *mut u64, value: u64) {
        word(at).store(value, Ordering::Release);
    }

    pub(super) fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64 {
        match word(at).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }

    pub(super) fn fetch_add(at: *mut u64, value: u64) -> u64 {
        word(at).fetch_add(value, Ordering::Relaxed)
    }

    pub(super) fn add(at: *mut u64, value: u64) {
        word(at).fetch_add(value, Ordering::Relaxed);
    }
}
