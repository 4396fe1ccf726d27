//! Numbers for branches, tags, Call-IDs and STUN transactions.

use std::sync::atomic::{AtomicU32, Ordering};

/// Returns a number that no other message of this process has.
pub fn unique() -> u32 {
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}
