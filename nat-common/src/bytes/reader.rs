//! Readers of a message, which go on in steps.

use super::Source;
use crate::bpf::{Repeat, Step};

/// Reader whose state lies in memory between steps: so the verifier looks at one step only, whatever loop repeats it.
pub(crate) trait Reader: Sized {
    /// See [`Step::TWO_PER_CALL`].
    const TWO_PER_CALL: bool;

    /// Makes one step. False at the end.
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool;

    /// Makes steps up to the end, `limit` at the most.
    #[inline(always)]
    fn read<S: Source + ?Sized, L: Repeat>(&mut self, source: &S, limit: u32) {
        let steps = Steps {
            reader: self,
            source,
        };
        L::repeat(limit, steps);
    }
}

/// Steps of a reader. Not a closure: the compiler would make a function of it, and each call takes time.
struct Steps<'s, R, S: ?Sized> {
    reader: &'s mut R,
    source: &'s S,
}

impl<R: Reader, S: Source + ?Sized> Step for Steps<'_, R, S> {
    const TWO_PER_CALL: bool = R::TWO_PER_CALL;

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.reader.step(self.source)
    }
}

/// Defines how a state machine goes on. Its fields `at` and `expect` are the position, and the element that is expected there.
macro_rules! goes_on {
    ($expect:ty) => {
        /// Continues at `at`, where it expects `expect`.
        #[inline(always)]
        pub(super) fn go(&mut self, at: u32, expect: $expect) -> bool {
            self.at = at;
            self.expect = expect;
            true
        }

        /// Reads the position and the expected element from memory. The verifier then takes both for unknown, so that all
        /// rounds of the loop look alike to it.
        #[inline(always)]
        pub(super) fn position(&self) -> (u32, $expect) {
            // SAFETY: valid references. Volatile, so that the compiler keeps the state in memory.
            unsafe {
                (
                    (&raw const self.at).read_volatile(),
                    (&raw const self.expect).read_volatile(),
                )
            }
        }
    };
}

pub(crate) use goes_on;
