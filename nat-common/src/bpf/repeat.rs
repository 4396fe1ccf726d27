//! Loops that the verifier takes.

/// How a step is repeated until it says that it is done. Kernels differ in the loops that their
/// verifier takes, so the loop is chosen where the code is loaded, and no step holds a loop itself.
pub trait Repeat {
    /// Takes the step until it returns false, `limit` times at the most.
    fn repeat(limit: u32, step: impl Step);
}

/// What is repeated: a closure, or where it matters that no call is made for each step, a type of its own, whose
/// method can be told to be inlined. In the kernel a return may cost more than the step (a CPU that must not predict it).
pub trait Step {
    /// Whether so many are taken that a call for each costs more than what two take of the CPU's instruction cache.
    const MANY: bool = false;

    /// Whether there is more to do.
    fn step(&mut self) -> bool;
}

impl<F: FnMut() -> bool> Step for F {
    #[inline(always)]
    fn step(&mut self) -> bool {
        self()
    }
}

/// The loop of the host.
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
