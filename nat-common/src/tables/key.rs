//! Keys of identities in the tables of sets. All parts are hashes keyed with the secret, so xor and rotation are enough
//! to join them.
//!
//! ```
//! use nat_common::sip::Method;
//! use nat_common::tables::key;
//!
//! let (call, branch) = (0x1111, 0x2222);
//! let invite = key::transaction(call, branch, 1, Method::Invite);
//! assert_eq!(invite, key::transaction(call, branch, 1, Method::Invite));
//! assert_ne!(invite, key::transaction(call, branch, 2, Method::Invite));
//! assert_ne!(invite, key::transaction(call, branch, 1, Method::Cancel));
//! ```

use crate::sip::Method;
use crate::tables::slots::SlotKey;

/// Makes the key of a transaction: Call-ID, topmost Via branch, CSeq number and method.
#[inline(always)]
#[must_use]
pub const fn transaction(call: u64, branch: u64, cseq: u32, method: Method) -> SlotKey {
    // An odd factor maps the pair of number and method to 64 bits one to one.
    let cseq = ((cseq as u64) << 8 | method as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SlotKey::new(
        call ^ branch.rotate_left(32) ^ cseq,
        branch ^ call.rotate_left(16) ^ cseq.rotate_left(40),
    )
}

/// Makes the key of a pending dialog end: Call-ID and the terminal's own tag.
#[inline(always)]
#[must_use]
pub const fn pending(call: u64, tag: u64) -> SlotKey {
    SlotKey::new(call ^ tag.rotate_left(32), tag ^ call.rotate_left(16))
}
