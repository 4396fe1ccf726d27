//! Algorithms on memory that several CPUs share.
//!
//! A lookup goes from a hash to a key, and from the key to a slot of a set:
//!
//! ```
//! use nat_common::abi::{Entry, OutboundTransaction, Set};
//! use nat_common::sip::Method;
//! use nat_common::tables::{hash, key, slots::Slots};
//!
//! let secret = [1, 2];
//! let (call, branch) = (hash::words(1, 2, 3, &secret), hash::words(4, 5, 6, &secret));
//! let key = key::transaction(call, branch, 1, Method::Invite);
//!
//! let mut table = [Set::default(); 16];
//! let set = &raw mut table[key.index as usize % 16];
//! let mut copy = Entry::<OutboundTransaction>::default();
//! // SAFETY: the set is valid, and nobody else uses it.
//! assert!(unsafe { Slots::new(set, &mut copy) }.put(&key, &Entry::default()));
//! // SAFETY: as above.
//! assert!(unsafe { Slots::new(set, &mut copy) }.find(&key).is_some());
//! ```

pub mod bindings;
pub mod buckets;
pub mod hash;
pub mod key;
pub mod rank;
pub mod slots;
pub mod uri;
