//! The list of all maps that kernel programs and user space share.
//!
//! A new map is one line here, and its value type. From this list follow the kernel's statics, the agent's view, the
//! pins, and `sipnat status`.

/// Applies a macro to the list.
///
/// `sets` are set-associative tables: name, field, variant of [`Table`], value type, setting of its size in sets, and the
/// constant of [`lifetimes`](crate::engine::lifetimes) for which an entry counts. `maps` are all others: name, field, kind
/// with its types, and a fixed number of entries or the setting of it.
///
/// ```
/// macro_rules! names {
///     (
///         sets { $($(#[$_d:meta])* $set:ident $_f:ident $_t:ident($_v:ty) [$_s:ident] $_l:ident;)* }
///         maps { $($(#[$_e:meta])* $map:ident $_g:ident $_k:ident($($_u:ty),*) $_n:tt;)* }
///     ) => {
///         [$(stringify!($set),)* $(stringify!($map),)*]
///     };
/// }
/// assert!(nat_common::tables!(names).contains(&"DIALOGS"));
/// ```
#[macro_export]
macro_rules! tables {
    ($apply:ident) => {
        $apply! {
            sets {
                /// Transactions that terminals opened.
                INBOUND inbound Inbound(InboundTransaction) [transactions] TRANSACTION_LIFE;
                /// Transactions that the PBX opened.
                OUTBOUND outbound Outbound(OutboundTransaction) [transactions] TRANSACTION_LIFE;
                /// Dialog ends that the PBX has not accepted yet.
                PENDING pending Pending(PendingDialog) [pending] TRANSACTION_LIFE;
                /// Learned addresses, and where their terminals answer.
                PEERS peers Peers(Peer) [peers] PEER_LIFE;
                /// Datagrams that the PBX sends in fragments.
                FRAGMENTS fragments Fragments(FragmentedDatagram) [fragments] FRAGMENT_LIFE;
                /// Sources of STUN requests.
                STUN stun Stun(StunSource) [stun] FOREVER;
                /// Session descriptions that are not answered yet.
                OFFERS offers Offers(Offer) [offers] ANSWER_LIFE;
            }
            maps {
                /// Description of the tables, for an agent of another version. The kernel programs do not read it.
                LAYOUT layout array(LayoutLine) (LAYOUT_LINES);
                /// Settings of the kernel programs.
                CONFIG config array(Config) 1;
                /// Policy by learned address.
                POLICY policy trie(Rule) 4096;
                /// Active dialog ends.
                DIALOGS dialogs bindings(DialogKey) [bindings];
                /// Active contacts.
                CONTACTS contacts bindings(ContactKey) [bindings];
                /// Records of decisions, in two rings: of messages that belong to no binding, and of the others.
                HISTORY history lines(Record) [history];
                /// Number of records written to each ring of `HISTORY`.
                WRITTEN written array(u64) 2;
                /// Kinds of this host's addresses and subnets.
                ADDRESSES addresses trie(u32) 4096;
                /// Token buckets of sources of STUN requests.
                BUCKETS buckets lines(Buckets) [buckets];
                /// Token bucket of all sources of STUN requests together. Its line holds nothing else.
                STUN_TOTAL stun_total lines(Buckets) 1;
                /// Packets and events, by the index of their counter.
                COUNTERS counters percpu(u64) (Counter::COUNT);
                /// NAT mappings that the agent keeps open.
                KEEPALIVES keepalives lines(Keepalive) [keepalives];
                /// Settings of media.
                MEDIA_CONFIG media_config array(MediaConfig) 1;
                /// Guard of media by the address of the terminal's signalling.
                GUARD guard trie(Rule) 4096;
                /// Streams by the number of a local address and by port.
                MEDIA media lines(MediaSlot) [media];
                /// Bits of the slots of `MEDIA` that are used.
                MEDIA_BITS media_bits lines(MediaBits) 1;
                /// Events of media, by the index of their counter.
                MEDIA_COUNTERS media_counters percpu(u64) (MediaCounter::COUNT);
            }
        }
    };
}

macro_rules! define {
    (
        sets { $($(#[$doc:meta])* $set:ident $_:ident $table:ident($_v:ty) [$_s:ident] $_l:ident;)* }
        maps { $($(#[$map_doc:meta])* $map:ident $_f:ident $_k:ident($($_t:ty),*) $_n:tt;)* }
    ) => {
        /// Tables of sets.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Table {
            $($(#[$doc])* $table,)*
        }

        impl Table {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$table),*];

            /// Number of tables.
            pub const COUNT: usize = Self::ALL.len();
        }

        /// Names of the maps, as pinned and as the kernel shows them (at most 15 bytes).
        pub mod map {
            $($(#[$doc])* pub const $set: &str = stringify!($set);)*
            $($(#[$map_doc])* pub const $map: &str = stringify!($map);)*
        }
    };
}
tables!(define);
