//! What the decisions need from where they run.

use core::ptr::NonNull;

use crate::abi::{Binding, ContactKey, Counter, DialogKey, Entry, Policy, Record};
use crate::bytes::Span;
use crate::endpoint::Endpoint;
use crate::engine::contacts::place_contact;
use crate::engine::dialogs::place_dialog;
use crate::sip::Message;
use crate::tables::slots::{SlotKey, Slots};

/// The set-associative tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Transactions that terminals opened.
    Inbound,
    /// Transactions that the PBX opened.
    Outbound,
    /// Dialog ends not yet accepted.
    Pending,
    /// Learned addresses, and whether they answer.
    Peers,
    /// Datagrams that the PBX sends in fragments.
    Fragments,
    /// Where STUN requests come from.
    Stun,
}

/// How many tables there are.
pub const TABLES: usize = 6;

/// What the decisions need from where they run.
///
/// Pointers to bindings lead into memory that others change at any time; they are read and written
/// field by field, and never kept.
pub trait Env {
    /// `CLOCK_MONOTONIC_COARSE`, nanoseconds.
    fn now(&self) -> u64;
    /// The hash of a part of the message by its index, see [`Text::digest`]; 0 for one that is not there.
    fn hash(&self, part: usize) -> u64;
    /// The set of a table in which a key belongs. Room for copies is one per table, so what was found
    /// in a table is valid until the next look into the same table.
    fn slots(&self, table: Table, key: &SlotKey) -> Option<Slots<'_>>;
    /// An entry to fill in, empty; the one asked for before is then of no use.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn entry(&self) -> &mut Entry;
    /// An active dialog end.
    fn dialog(&self, key: &DialogKey) -> Option<NonNull<Binding>>;
    /// An active contact.
    fn contact(&self, key: &ContactKey) -> Option<NonNull<Binding>>;
    /// Room for a binding, in which is what was left there.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn draft(&self) -> &mut Binding;
    /// Stores a draft. False if the table is full.
    fn put_dialog(&self, key: &DialogKey, draft: &Binding) -> bool;
    /// Stores a draft. False if the table is full.
    fn put_contact(&self, key: &ContactKey, draft: &Binding) -> bool;
    /// Forgets a contact.
    fn remove_contact(&self, key: &ContactKey);
    /// Policy for a learned address.
    fn policy(&self, learned: &Endpoint) -> Policy;
    /// Keyed hash of three words.
    fn mix(&self, a: u64, b: u64, c: u64) -> u64;
    /// Whether nothing is to be redirected.
    fn shadow(&self) -> bool;
    /// The record of this message.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn record(&self) -> &mut Record;
    /// Keeps the record of this message.
    fn remember(&self, record: &Record);
    /// Adds one to a counter, and an event to the record.
    fn count(&self, counter: Counter);

    /// [`place_dialog`]; a kernel has it as a function that is verified once.
    #[inline(always)]
    fn place_dialog(&self, m: &Message, call: u64, tag: u64, place: &Entry) -> bool
    where
        Self: Sized,
    {
        place_dialog(self, m, call, tag, place)
    }

    /// [`place_contact`], likewise.
    #[inline(always)]
    fn place_contact(&self, key: &ContactKey) -> bool
    where
        Self: Sized,
    {
        place_contact(self, key)
    }
}

/// What needs the text of the message at hand.
pub trait Text: Env {
    /// Hashes parts of the message with the secret, a bit for each (see [`Field`]), for [`Env::hash`].
    fn digest(&self, m: &Message, parts: u32);
    /// Copies part of the message into a draft's text.
    fn name(&self, draft: &mut Binding, span: Span);
}
