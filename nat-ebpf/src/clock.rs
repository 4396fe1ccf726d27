//! The time of a packet.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Not 0: packets come from a capture, and `CAPTURED` has their time. `sipnat replay` sets it when it loads the programs. The
/// verifier knows the value, and removes what it excludes.
#[unsafe(no_mangle)]
static REPLAY: u32 = 0;

/// Time of the captured packet. Only `sipnat replay` writes it. No map, whose lookup would need a key on the stack.
#[unsafe(no_mangle)]
static mut CAPTURED: u64 = 0;

/// Returns the time in nanoseconds. It is that of the last tick: reading a clock would take longer.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a valid reference. Volatile, since user space sets the value when it loads the program.
    if unsafe { (&raw const REPLAY).read_volatile() } != 0 {
        // SAFETY: a valid reference. Volatile, since user space writes the value between two packets.
        return unsafe { (&raw const CAPTURED).read_volatile() };
    }
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
