//! Types that kernel programs and user space exchange through BPF maps.
//!
//! Every type is `repr(C)` without padding, which its derives check. Change a type or the meaning of a field, and
//! [`ABI`] must grow. An agent takes pins of another number over as far as their description ([`Described`]) says how.
//!
//! ```
//! use nat_common::abi::{Config, Entry, InboundTransaction, Set};
//!
//! assert_eq!(size_of::<Set>(), 256);
//! assert_eq!(size_of::<Entry<InboundTransaction>>(), 56);
//! assert_eq!(Config::default().shadow, 0);
//! ```

pub mod address;
pub mod counter;

mod binding;
mod config;
mod flags;
mod ground;
mod guard;
mod keepalive;
mod layout;
mod media;
mod policy;
mod record;
mod rule;
mod set;
mod tables;
mod time;
mod value;

pub use binding::{
    BINDING_LOAD, BINDING_WAYS, Binding, BindingSet, ContactKey, DialogKey, TEXT_LEN,
};
pub use config::{Config, Interface, MAX_INTERFACES, MAX_PBXS, MAX_PORTS, NO_PBX, Rate, stun};
pub use counter::{Counter, CounterKind};
pub use flags::{
    BindingFlags, DIALOG_STATES, EvidenceFlags, FragmentFlags, InboundFlags, OfferFlags,
    OutboundFlags, PeerFlags, PendingFlags, StunFlags,
};
pub use ground::Ground;
pub use guard::Guard;
pub use keepalive::Keepalive;
pub use layout::{Described, Digest, Field, LAYOUT_LINES, LayoutLine, RULES, named_flags};
pub use media::{
    MEDIA_ADDRESSES, MEDIA_EXTERNALS, MEDIA_FORWARDING, MEDIA_PORTS, MediaBits, MediaConfig,
    MediaCounter, MediaFlags, MediaPrefix, MediaSlot,
};
pub use policy::Policy;
pub use record::Record;
pub use rule::{Rule, origin};
pub use set::{EPOCH, EPOCH_BITS, RANK, Set, Slot, WAYS};
pub use tables::{Table, map};
pub use time::{SECOND, TICK_SHIFT, age, ticks};
pub use value::{
    Entry, FIRST_PORT, FLAGS, FragmentedDatagram, InboundTransaction, OFFER_LINES, Offer,
    OutboundTransaction, Peer, PendingDialog, StunSource, VALUE_WORDS, Value, ValueWords, line,
};

/// Number of the layout of everything in this folder.
pub const ABI: u32 = 31;

#[cfg(feature = "user")]
mod pod {
    use super::{
        Binding, BindingSet, Config, ContactKey, DialogKey, Keepalive, LayoutLine, MediaBits,
        MediaConfig, MediaSlot, Record, Rule, Set,
    };

    macro_rules! pod {
        ($($t:ty),*) => {$(
            // SAFETY: the derive of `FromBytes` makes sure that every bit pattern is valid.
            unsafe impl aya::Pod for $t {}
            const _: () = {
                const fn holds_any_bits<T: zerocopy::FromBytes + zerocopy::IntoBytes>() {}
                holds_any_bits::<$t>();
            };
        )*};
    }
    pod!(
        Binding,
        BindingSet,
        Config,
        ContactKey,
        DialogKey,
        Keepalive,
        LayoutLine,
        MediaBits,
        MediaConfig,
        MediaSlot,
        Record,
        Rule,
        Set
    );
}
