//! Loops that the verifier accepts.

/// Loop that repeats a step.
///
/// Verifiers of different kernels accept different loops. So the kernel programs exist with each loop, and the agent
/// loads the one that the kernel accepts. A step must not hold a loop itself.
pub trait Repeat {
    /// Repeats `step` until it returns false. A loop that counts stops after `limit` rounds, or one more if a callback makes
    /// two; `may_goto` does not count.
    fn repeat(limit: u32, step: impl Step);
}

/// Step of a loop: a closure, or a type whose method is always inlined.
///
/// Use a type where a call for each step costs too much. In the kernel a return may cost more than the step:
/// mitigations keep the CPU from predicting it.
pub trait Step {
    /// Whether one callback of `bpf_loop` makes two steps.
    ///
    /// With many steps, half of the calls save more time than the second copy of the step costs in the CPU's
    /// instruction cache.
    const TWO_PER_CALL: bool = false;

    /// Makes one step. Returns whether the loop goes on.
    fn step(&mut self) -> bool;
}

impl<F: FnMut() -> bool> Step for F {
    #[inline(always)]
    fn step(&mut self) -> bool {
        self()
    }
}

/// Loop of the host.
#[derive(Debug)]
pub struct HostLoop;

impl Repeat for HostLoop {
    fn repeat(limit: u32, mut step: impl Step) {
        for _ in 0..limit {
            if !step.step() {
                return;
            }
        }
    }
}
