//! Loops of the kernel. Each program exists with either, and the agent loads the one that the kernel accepts.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_loop;
use nat_common::bpf::{Repeat, Step};

/// Loop that may end at any round for all the verifier knows, so it verifies one round only. `may_goto` came with
/// kernel 6.9; the kernel ends the loop by itself after eight million rounds.
pub(crate) struct MayGoto;

impl Repeat for MayGoto {
    #[inline(always)]
    fn repeat(_limit: u32, mut step: impl Step) {
        loop {
            // No step leaves a value in these registers. They are emptied because the verifier of 6.12 would tell rounds apart
            // by their old content.
            //
            // SAFETY: jumps out of the loop or does nothing. The compiler must take it to touch memory, which keeps the state
            // of a step in memory between rounds.
            unsafe {
                core::arch::asm!(
                    "r0 = 0",
                    "r1 = 0",
                    "r2 = 0",
                    "r3 = 0",
                    "r4 = 0",
                    "r5 = 0",
                    "may_goto {out}",
                    out = label { return },
                    out("r0") _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                    out("r4") _,
                    out("r5") _,
                );
            }
            if !step.step() {
                return;
            }
        }
    }
}

/// Loop of older kernels, and of what is rare on any: a helper that calls back, since 5.17, at a cost of some nanoseconds each
/// time. A step must not contain a loop: the verifier of 6.18 crashes on one in a callback.
pub(crate) struct Callback;

impl Repeat for Callback {
    #[inline(always)]
    fn repeat(limit: u32, mut step: impl Step) {
        extern "C" fn call<F: Step>(_round: u32, step: *mut c_void) -> i64 {
            // SAFETY: the pointer that was given to the helper below; nobody else uses it meanwhile.
            let step = unsafe { &mut *step.cast::<F>() };
            let more = if F::TWO_PER_CALL {
                step.step() && step.step()
            } else {
                step.step()
            };
            if !more {
                return 1;
            }
            0
        }
        fn callback<F: Step>(_: &F, limit: u32) -> (extern "C" fn(u32, *mut c_void) -> i64, u32) {
            (
                call::<F>,
                if F::TWO_PER_CALL {
                    limit.div_ceil(2)
                } else {
                    limit
                },
            )
        }
        let (call, calls) = callback(&step, limit);
        // SAFETY: the helper calls it before it returns, with the pointer that it is given.
        unsafe {
            bpf_loop(
                calls,
                call as *mut c_void,
                ptr::from_mut(&mut step).cast(),
                0,
            );
        }
    }
}
