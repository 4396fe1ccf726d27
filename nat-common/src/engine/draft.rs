//! Bindings, found and placed while other CPUs change them.

use crate::abi::Counter;
use crate::engine::env::{Bindings, Buffer, Clock, Journal};
use crate::engine::verdict::Placed;
use crate::tables::bindings::{BindingKey, Found};

/// Copies a binding that has not expired to scratch.
#[inline(always)]
pub(super) fn find_live<K: BindingKey, E: Bindings + Clock>(
    env: &E,
    key: &K,
    to: Buffer,
) -> Option<Found> {
    env.find(key, to)
        .filter(|_| env.buffer(to).expires > env.now())
}

/// Tries to place a binding, once more if another CPU changes it at the same time.
#[inline(always)]
pub(super) fn place<E: Journal>(env: &E, place: impl Fn() -> Placed) -> Placed {
    const TRIES: u32 = 2;
    for _ in 0..TRIES {
        let placed = place();
        if placed != Placed::Busy {
            return placed;
        }
    }
    env.count(Counter::SlotBusy);
    Placed::Busy
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::abi::Record;
    use core::cell::{Cell, RefCell};
    use std::vec::Vec;

    /// A journal of counters alone.
    #[derive(Default)]
    struct Counters(RefCell<Vec<Counter>>);

    impl Journal for Counters {
        fn record(&self) -> &mut Record {
            unreachable!("no record")
        }

        fn remember(&self, _: &Record) {}

        fn count(&self, event: Counter) {
            self.0.borrow_mut().push(event);
        }
    }

    #[test]
    fn a_binding_that_is_busy_is_placed_once_more() {
        for (outcomes, placed, tries) in [
            (&[Placed::Done][..], Placed::Done, 1),
            (&[Placed::New], Placed::New, 1),
            (&[Placed::Refused], Placed::Refused, 1),
            (&[Placed::Busy, Placed::Done], Placed::Done, 2),
            (&[Placed::Busy, Placed::New], Placed::New, 2),
            (&[Placed::Busy, Placed::Busy, Placed::Done], Placed::Busy, 2),
        ] {
            let (counters, tried) = (Counters::default(), Cell::new(0));
            let outcome = place(&counters, || {
                tried.set(tried.get() + 1);
                outcomes[tried.get() - 1]
            });
            assert_eq!((outcome, tried.get()), (placed, tries));
            let busy = usize::from(placed == Placed::Busy);
            assert_eq!(counters.0.take(), &[Counter::SlotBusy][..busy]);
        }
    }
}
