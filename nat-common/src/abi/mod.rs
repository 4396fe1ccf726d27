//! What the kernel programs and user space exchange through BPF maps.
//!
//! Every type is `repr(C)`, free of padding, and its size is asserted beside it. Change a type or the
//! meaning of a field, and [`ABI`] must grow: the agent refuses pins of another number.

pub mod address;
pub mod counter;

mod binding;
mod config;
mod policy;
mod record;
mod set;
mod time;

pub use binding::{Binding, ContactKey, DialogKey, TEXT_LEN, flag};
pub use config::{Config, MAX_PORTS, Rate, stun};
pub use counter::{Counter, CounterKind};
pub use policy::{Policy, PolicyRule, origin};
pub use record::Record;
pub use set::{CONTENT_WORDS, Entry, Set, Slot, WAYS};
pub use time::{SECOND, TICK_SHIFT, ticks};

/// Number of the layout of everything in this folder.
pub const ABI: u32 = 5;

/// Names of the maps, as pinned and as the kernel shows them (at most 15 bytes).
pub mod map {
    /// `Array<Config>`, one entry.
    pub const CONFIG: &str = "CONFIG";
    /// `LpmTrie<[u8; 16], PolicyRule>` over the learned source address.
    pub const POLICY: &str = "POLICY";
    /// `HashMap<DialogKey, Binding>`: active dialog ends.
    pub const DIALOGS: &str = "DIALOGS";
    /// `HashMap<ContactKey, Binding>`: active contacts.
    pub const CONTACTS: &str = "CONTACTS";
    /// `Array<Set>`: transactions that terminals opened; the entry says where from.
    pub const INBOUND: &str = "INBOUND";
    /// `Array<Set>`: transactions that the PBX opened; the entry says where to.
    pub const OUTBOUND: &str = "OUTBOUND";
    /// `Array<Set>`: dialog ends seen but not yet accepted by the PBX.
    pub const PENDING: &str = "PENDING";
    /// `Array<Set>`: learned addresses, and whether they answer.
    pub const PEERS: &str = "PEERS";
    /// `Array<Set>`: datagrams that the PBX sends in fragments; the entry says where to.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `Array<Record>`: what was decided, the oldest overwritten.
    pub const HISTORY: &str = "HISTORY";
    /// `LpmTrie<[u8; 16], u32>`: one of [`crate::abi::address`] for addresses and subnets of this host.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// `Array<Buckets>`: how much of its allowance each source of STUN requests has used.
    pub const BUCKETS: &str = "BUCKETS";
    /// `Array<Set>`: where STUN requests come from.
    pub const STUN: &str = "STUN";
    /// `PerCpuArray<u64>`, indexed by [`crate::abi::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
}

#[cfg(feature = "user")]
mod pod {
    use super::{Binding, Config, ContactKey, DialogKey, PolicyRule, Record, Set};

    macro_rules! pod {
        ($($t:ty),*) => {$(
            // SAFETY: repr(C), without padding (sizes asserted above), every bit pattern valid.
            unsafe impl aya::Pod for $t {}
        )*};
    }
    pod!(
        Binding, Config, ContactKey, DialogKey, PolicyRule, Record, Set
    );
}
