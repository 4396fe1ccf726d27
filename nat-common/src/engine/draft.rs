//! Copies of bindings.

use crate::abi::Binding;
use crate::bytes::words;
use crate::engine::env::Env;

/// Copies a binding into the draft. Whether it is that of the key, and has not expired: the kernel may give
/// the memory of a removed binding to another at any time, which then starts with another key.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
pub(super) unsafe fn copy<E: Env>(env: &E, known: *mut Binding, key: &[u64; 2]) -> bool {
    let draft = env.draft();
    // SAFETY: as above, and a valid reference.
    let now_there = unsafe {
        words::copy(known, draft);
        (&raw const (*known).key).read_volatile()
    };
    draft.key == *key && now_there == *key && draft.expires > env.now()
}
