//! Copies of live bindings.

use crate::engine::env::{Bindings, Clock, Copy};
use crate::tables::bindings::{BindingKey, Found};

/// Copies a binding that has not expired to scratch.
#[inline(always)]
pub(super) fn find_live<K: BindingKey, E: Bindings + Clock>(
    env: &E,
    key: &K,
    to: Copy,
) -> Option<Found> {
    env.find(key, to)
        .filter(|_| env.copy(to).expires > env.now())
}
