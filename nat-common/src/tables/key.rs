//! How identities become keys of tables. All parts are hashes keyed with the secret, so xor and
//! rotation are enough to join them.

use crate::sip::Method;
use crate::tables::slots::SlotKey;

/// A transaction: Call-ID, topmost Via branch, CSeq number and method.
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

/// A dialog end that is pending: Call-ID and the terminal's own tag.
#[inline(always)]
#[must_use]
pub const fn pending(call: u64, tag: u64) -> SlotKey {
    SlotKey::new(call ^ tag.rotate_left(32), tag ^ call.rotate_left(16))
}
