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
