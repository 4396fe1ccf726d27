//! Consistent copies of bindings.

use crate::abi::Binding;
use crate::bytes::words;
use crate::engine::env::{Bindings, Clock};

/// Copies a binding into the draft. Returns whether it is that of the key, and has not expired: the kernel may give the
/// memory of a removed binding to another at any time, which then starts with another key.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
pub(super) unsafe fn copy_live<E: Bindings + Clock>(
    env: &E,
    known: *mut Binding,
    key: &[u64; 2],
) -> bool {
    let draft = env.draft();
    // SAFETY: as above, and a valid reference.
    let key_after = unsafe {
        words::copy(known, draft);
        (&raw const (*known).key).read_volatile()
    };
    draft.key == *key && key_after == *key && draft.expires > env.now()
}
