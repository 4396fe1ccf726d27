//! Environment of the decisions, in small traits: a function asks for no more than it needs.
//!
//! The kernel programs implement them with BPF maps, host tests with memory.
//!
//! ```
//! use nat_common::engine::env::Clock;
//!
//! /// A clock that stands still.
//! struct Stopped(u64);
//!
//! impl Clock for Stopped {
//!     fn now(&self) -> u64 {
//!         self.0
//!     }
//! }
//!
//! assert_eq!(Stopped(7).now(), 7);
//! ```

use crate::abi::{
    Binding, BindingFlags, ContactKey, Counter, DIALOG_STATES, DialogKey, Entry,
    OutboundTransaction, Peer, Policy, Record, Value,
};
use crate::bytes::Span;
use crate::endpoint::Endpoint;
use crate::engine::evidence::Evidence;
use crate::engine::route::Route;
use crate::engine::verdict::{Choice, Placed};
use crate::sip::{Field, Message};
use crate::tables::bindings::{BindingKey, Found, Pushed, Stored};
use crate::tables::slots::{SlotKey, Slots};

/// Time.
pub trait Clock {
    /// Returns `CLOCK_MONOTONIC_COARSE`, in nanoseconds.
    fn now(&self) -> u64;
}

/// Keyed hashes.
pub trait Hashes {
    /// Returns the hash of a part of the message by its index (see [`Text::digest`]); 0 for one that is absent.
    fn hash(&self, part: usize) -> u64;
    /// Hashes three words.
    fn mix(&self, a: u64, b: u64, c: u64) -> u64;
    /// Returns the PBX's socket of this message, as it goes into keys (see [`key::pbx`](crate::tables::key::pbx)).
    fn pbx(&self) -> u64;
    /// Returns the PBX's socket of this message in 32 bits (see [`key::socket`](crate::tables::key::socket)).
    fn socket(&self) -> u32;
}

/// Tables of sets.
pub trait Tables {
    /// Returns the set in which a key belongs. Scratch for copies is one per table, so an entry that was found in a
    /// table is valid until the next lookup in the same table.
    fn slots<V: Value>(&self, key: &SlotKey) -> Option<Slots<'_, V>>;
    /// Returns scratch for a new entry, zeroed. It is one for all tables: the entry returned before is void.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn entry<V: Value>(&self) -> &mut Entry<V>;
}

/// Scratch for bindings: one memory for each.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The binding that is to be stored, or that a message is about.
    Draft,
    /// The binding that the draft is to replace.
    Known,
    /// Another one that bears on it.
    Other,
}

impl Buffer {
    /// Number of them.
    pub const COUNT: usize = 3;
}

/// Active bindings; see [`bindings`](crate::tables::bindings).
pub trait Bindings {
    /// Returns scratch for a binding, with its last content.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn buffer(&self, buffer: Buffer) -> &mut Binding;
    /// Copies a binding to scratch, whether it has expired or not.
    fn find<K: BindingKey>(&self, key: &K, to: Buffer) -> Option<Found>;
    /// Stores the binding in scratch, under the key that it holds, over the state that was found.
    fn store<K: BindingKey>(&self, from: Buffer, found: Option<Found>) -> Stored;
    /// Returns the binding that gave way to the last one stored.
    fn pushed(&self) -> Pushed;
    /// Sets the flags of a binding. Nothing is done if it has changed.
    fn set_flags<K: BindingKey>(&self, key: &K, found: Found, flags: BindingFlags);
    /// Adds one to the packets that a binding has redirected.
    fn count_redirected<K: BindingKey>(&self, key: &K, found: Found);
    /// Removes a contact. Nothing is done if it has changed.
    fn remove_contact(&self, key: &ContactKey, found: Found);

    /// Returns the draft, with its last content.
    #[inline(always)]
    fn draft(&self) -> &mut Binding {
        self.buffer(Buffer::Draft)
    }
}

/// Rules that the user set, and what the agent knows of the network.
pub trait Rules {
    /// Returns the policy for a learned address.
    fn policy(&self, learned: &Endpoint) -> Policy;
    /// Whether nothing is to be redirected.
    fn shadow(&self) -> bool;
    /// Returns the kind of an address, as `ADDRESSES` has it; 0 if nothing is known of it.
    fn kind_of(&self, endpoint: &Endpoint) -> u32;
    /// Returns how long dialog ends last from their last message, in nanoseconds, by [`BindingFlags::dialog_state`].
    fn dialog_lives(&self) -> &[u64; DIALOG_STATES];
    /// Whether sipnat has run so long that each terminal has registered since (see
    /// [`Config::settled`](crate::abi::Config::settled)).
    fn settled(&self) -> bool;
}

/// Counters and history.
pub trait Journal {
    /// Returns the record of this message.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn record(&self) -> &mut Record;
    /// Stores the record of this message in the history.
    fn remember(&self, record: &Record);
    /// Adds one to the counter of an event, and the event to the record.
    fn count(&self, event: Counter);
}

/// All of it, for decisions about SIP messages.
pub trait Env: Clock + Hashes + Tables + Bindings + Rules + Journal {
    /// Returns scratch for evidence, with its last content.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn evidence(&self) -> &mut Evidence;
    /// Returns scratch for a route, with its last content.
    #[expect(clippy::mut_from_ref, reason = "scratch memory of one message")]
    fn route(&self) -> &mut Route;
    /// Calls [`place_dialog`](crate::engine::place_dialog). A kernel calls it by name, so that it is verified once.
    fn place_dialog(&self, key: &DialogKey, evidence: &Evidence) -> Placed;
    /// Calls [`place_contact`](crate::engine::place_contact), for the same reason.
    fn place_contact(&self, key: &ContactKey) -> Placed;
    /// Calls [`draft_further_contact`](crate::engine::draft_further_contact), for the same reason.
    fn draft_further_contact(&self, m: &Message, index: u32) -> bool;
    /// Calls [`note_further_contact`](crate::engine::note_further_contact), for the same reason.
    fn note_further_contact(&self, m: &Message, index: u32);
    /// Calls [`choose`](crate::engine::choose), for the same reason.
    fn choose(&self, owner: u64, transmissions: u32) -> Choice;
    /// Calls [`may_follow_uri`](crate::engine::may_follow_uri), for the same reason.
    fn may_follow_uri(&self) -> bool;
    /// Calls [`has_left`](crate::engine::has_left) for a packet that the PBX sends, for the same reason.
    fn has_left(&self, owner: u64, address: &Endpoint, since: u64) -> bool;
    /// Calls [`prove_pair`](crate::engine::prove_pair) for the new entry in scratch, for the same reason.
    fn prove_pair(&self, entry: &mut Entry<Peer>) -> bool;
    /// Calls [`note_deaf`](crate::engine::note_deaf) for the new entry in scratch, for the same reason.
    fn note_deaf(&self, entry: &mut Entry<Peer>) -> bool;
    /// Calls [`went_elsewhere`](crate::engine::went_elsewhere), for the same reason.
    fn went_elsewhere(&self, invite: &OutboundTransaction, transmissions: u32) -> bool;
    /// Calls [`route_of_invite`](crate::engine::route_of_invite), for the same reason.
    fn route_of_invite(&self, m: &Message) -> u64;
    /// Calls [`note_route`](crate::engine::note_route), now or before the record of this message is stored. The draft and the
    /// decision in the record stay until then.
    fn note_route(&self, found: Found, is_dialog: bool);
    /// Calls [`note_transmission`](crate::engine::note_transmission) for the new entry in scratch, for the same reason.
    fn note_transmission(&self, entry: &mut Entry<Peer>, again: bool);
    /// Calls [`note_resident`](crate::engine::note_resident) for the new entry in scratch, for the same reason.
    fn note_resident(&self, entry: &mut Entry<Peer>);
    /// Calls [`note_proxy`](crate::engine::note_proxy), for the same reason.
    fn note_proxy(&self, proxy: bool);
    /// Calls [`note_challenge`](crate::engine::note_challenge), for the same reason.
    fn note_challenge(&self, cseq: u32, redirected: bool, repetitions: u8);
    /// Calls [`prove_challenge`](crate::engine::prove_challenge), for the same reason.
    fn prove_challenge(&self, cseq: u32);
    /// Calls [`choose_host`](crate::engine::choose_host), for the same reason.
    fn choose_host(&self);
    /// Calls [`note_return`](crate::engine::note_return) for the new entry in scratch, for the same reason.
    fn note_return(&self, entry: &mut Entry<Peer>);
    /// Calls [`is_for_another_host`](crate::engine::is_for_another_host), for the same reason.
    fn is_for_another_host(&self) -> bool;
    /// Calls [`choose_by_uri`](crate::engine::choose_by_uri), for the same reason.
    fn choose_by_uri(&self, transmissions: u32) -> Choice;
    /// Calls [`note_ping`](crate::engine::note_ping), for the same reason.
    fn note_ping(&self, ping: &SlotKey);
}

/// An environment with the text of a message at hand.
pub trait Text: Env {
    /// Hashes parts of the message with the secret, a bit for each (see [`Field`]), for
    /// [`Hashes::hash`].
    fn digest(&self, m: &Message, parts: u32);
    /// Copies part of the message into the draft's text.
    fn name(&self, span: Span);
    /// Returns the address of a Contact (see [`Scan::contact_address`](crate::sip::Scan::contact_address)).
    fn contact_address(&self, index: usize) -> &Endpoint;
    /// Whether two URIs in the message have the same user.
    fn same_user(&self, a: Span, b: Span) -> bool;
    /// Whether two URIs in the message have the same host.
    fn same_host(&self, a: Span, b: Span) -> bool;
    /// Whether the user of a URI in the message is a telephone number.
    fn is_number(&self, uri: Span) -> bool;
    /// Calls [`names_domain`](crate::engine::names_domain) for a field with a URI. A kernel calls it by name, so that it is
    /// verified once.
    fn names_domain(&self, m: &Message, field: Field) -> bool;
    /// Calls [`leads_to_target`](crate::engine::leads_to_target) for a request to `port`, for the same reason.
    fn leads_to_target(&self, m: &Message, port: u32) -> bool;
    /// Calls [`place_registration`](crate::engine::place_registration), for the same reason.
    fn place_registration(&self, m: &Message);
    /// Calls [`remember_request_uri`](crate::engine::remember_request_uri), for the same reason.
    fn remember_request_uri(&self, m: &Message);
    /// Checks the UDP checksum of the datagram with the message.
    fn checksum(&self) -> Checksum;
}

/// Result of a check of a UDP checksum.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The kernel will take the datagram.
    #[default]
    Right,
    /// The kernel will drop the datagram: the PBX never sees it.
    Wrong,
    /// Only part of the datagram is here.
    Unknown,
}
