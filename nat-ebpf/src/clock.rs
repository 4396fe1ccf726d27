//! The time of a packet.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};

/// Not 0: packets come from a capture, and `CAPTURED` has their time. `sipnat replay` sets it when it loads the programs. The
/// verifier knows the value, and removes what it excludes.
#[unsafe(no_mangle)]
static REPLAY: u32 = 0;

/// Time of the captured packet. Only `sipnat replay` writes it. No map, whose lookup would need a key on the stack.
#[unsafe(no_mangle)]
static mut CAPTURED: u64 = 0;

/// Time that was read last, and that time joined with the number of the tick in which it was read. Joined, so that of two CPUs that
/// write at once none leaves a pair that another believes.
///
/// In a section of its own: `sipnat replay` maps that of [`CAPTURED`] alone.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.clock")]
static mut LAST: [u64; 2] = [0; 2];

/// Returns the time in nanoseconds. It is that of the last tick: reading a clock would take longer. It is read once in a tick:
/// the call of the helper takes longer than all else here, and the number of the tick is one load.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a valid reference. Volatile, since user space sets the value when it loads the program.
    if unsafe { (&raw const REPLAY).read_volatile() } != 0 {
        // SAFETY: a valid reference. Volatile, since user space writes the value between two packets.
        return unsafe { (&raw const CAPTURED).read_volatile() };
    }
    // SAFETY: a helper without arguments.
    let tick = unsafe { bpf_jiffies64() };
    // SAFETY: valid references. Volatile, since other CPUs write them.
    let (last, joined) = unsafe {
        (
            (&raw const LAST[0]).read_volatile(),
            (&raw const LAST[1]).read_volatile(),
        )
    };
    // The kernel never counts to 0: it starts 300 seconds before 2^32.
    if last ^ joined == tick {
        return last;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: as above.
    unsafe {
        (&raw mut LAST[0]).write_volatile(now);
        (&raw mut LAST[1]).write_volatile(now ^ tick);
    }
    now
}
