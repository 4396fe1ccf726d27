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

use crate::endpoint::Endpoint;
use crate::sip::Method;
use crate::tables::slots::SlotKey;

/// Returns a socket of the PBX as it goes into keys, by xor with a keyed hash: another socket is another PBX. `wildcard`: it
/// is bound to no address, so that only its port and the version of IP tell it.
///
/// Two sockets of IPv4 always differ here. Two of IPv6 with different ports can agree, if somebody may choose the last 64 bits
/// of a local address: on a host with a local route to a whole subnet (AnyIP), and at another of the ports that sipnat serves.
#[inline(always)]
#[must_use]
pub const fn pbx(socket: &Endpoint, wildcard: bool) -> u64 {
    let port = (socket.port as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if wildcard {
        return port ^ socket.is_v4() as u64;
    }
    socket.addr[0].rotate_left(23) ^ socket.addr[1] ^ port
}

/// Returns a 32-bit hash of a PBX's socket. The agent compares it with those of the sockets that the PBX can have.
#[inline(always)]
#[must_use]
pub const fn socket(socket: &Endpoint) -> u32 {
    let all = pbx(socket, false);
    all as u32 ^ (all >> 32) as u32
}

/// Joins the hashes of the terminal's own tag and of the other tag.
#[inline(always)]
#[must_use]
pub const fn tags(own: u64, other: u64) -> u64 {
    own ^ other.rotate_left(32)
}

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

/// Fact of a REGISTER that has an entry of its own. Its number tells the keys apart.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRegister {
    /// Source of the REGISTER, and its domain check.
    Source = 8,
    /// The challenge to it, which was redirected to its source.
    Challenge = 24,
    /// The host to which it was sent on.
    NextHost = 40,
}

/// Makes the key of a fact of a REGISTER, without its branch, which a proxy replaces.
#[inline(always)]
#[must_use]
pub const fn registration(call: u64, tag: u64, cseq: u32, fact: OfRegister) -> SlotKey {
    transaction(call, tag.rotate_left(fact as u32), cseq, Method::Register)
}

/// Makes the key of a further Contact of a REGISTER, by its index in it.
#[inline(always)]
#[must_use]
pub const fn further_contact(call: u64, branch: u64, cseq: u32, index: u32) -> SlotKey {
    // Not 0, which would be the key of a REGISTER without a branch.
    let other = branch.rotate_left(8) ^ (index as u64 + 1);
    transaction(call, other, cseq, Method::Register)
}

/// Makes the key of a pending dialog end: Call-ID and the terminal's own tag.
#[inline(always)]
#[must_use]
pub const fn pending(call: u64, tag: u64) -> SlotKey {
    SlotKey::new(call ^ tag.rotate_left(32), tag ^ call.rotate_left(16))
}

/// Makes the key of a session description that a request carries, until the answer to the request. `by_pbx`: the PBX sent
/// it; in a proxy's call both sides send one in the same transaction.
#[inline(always)]
#[must_use]
pub const fn offer(call: u64, branch: u64, cseq: u32, method: Method, by_pbx: bool) -> SlotKey {
    transaction(call, branch.rotate_left(8) ^ by_pbx as u64, cseq, method)
}

/// Makes the key of a session description that a 2xx carries, until the ACK, which has another branch. `by_pbx`: the PBX sent
/// the 2xx.
#[inline(always)]
#[must_use]
pub const fn offer_in_answer(call: u64, cseq: u32, by_pbx: bool) -> SlotKey {
    transaction(call, call.rotate_left(8) ^ by_pbx as u64, cseq, Method::Ack)
}
