//! The engine's environment on the host: maps in memory instead of the kernel's.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use nat_common::abi::{
    BINDING_WAYS, Binding, BindingFlags, BindingSet, ContactKey, Counter, DIALOG_STATES, DialogKey,
    Entry, Guard, MediaConfig, MediaCounter, MediaSlot, OutboundTransaction, Peer, Policy, Record,
    SECOND, Set, TEXT_LEN, Table, Value, ValueWords, WAYS, ticks,
};
use nat_common::bpf::HostLoop;
use nat_common::bytes::{Span, hosts, users};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::{
    Bindings, Buffer, Checksum, Clock, Env, Hashes, Journal, Rules, Tables, Text,
};
use nat_common::engine::lifetimes::{self, DIALOG_LIFE, EARLY_LIFE};
use nat_common::engine::media::{self, Media, MediaSlots, Pairing};
use nat_common::engine::stun::Server;
use nat_common::engine::{self, Choice, Evidence, Placed, Route};
use nat_common::sdp::{self, Description};
use nat_common::sip::{Direction, Doubt, Field, Message, READ_CONTACTS, URIS};
use nat_common::tables::bindings::{self, BindingKey, Found, Pushed, Room, Slice, Stored};
use nat_common::tables::hash::{self, Cursor, Digest};
use nat_common::tables::key;
use nat_common::tables::slots::{SlotKey, Slots};
use nat_common::tables::uri::{self, UriHash};

use crate::scan::scanned_for;

const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
const SETS: usize = 64;
const BINDING_SETS: u32 = 32;

/// Number of entries that a table holds.
pub const SLOTS: u32 = (SETS * WAYS) as u32;

/// Maps in memory, and the message that the engine decides on.
pub struct MemoryEnv {
    /// Current time.
    pub now: Cell<u64>,
    /// Policy for every terminal.
    pub policy: Cell<Policy>,
    /// Guard of all streams.
    pub guard: Cell<Guard>,
    /// Shadow mode: sipnat decides without redirecting.
    pub shadow: Cell<bool>,
    /// Records that the engine has written.
    pub history: RefCell<Vec<Record>>,
    text: RefCell<Vec<u8>>,
    addresses: UnsafeCell<[Endpoint; READ_CONTACTS]>,
    digest: RefCell<Digest>,
    tables: [Vec<UnsafeCell<Set>>; Table::COUNT],
    copies: [UnsafeCell<Entry<ValueWords>>; Table::COUNT],
    entry: UnsafeCell<Entry<ValueWords>>,
    evidence: UnsafeCell<Evidence>,
    route: UnsafeCell<Route>,
    bindings: [UnsafeCell<Binding>; Buffer::COUNT],
    room: RefCell<Room>,
    record: UnsafeCell<Record>,
    dialogs: Vec<UnsafeCell<BindingSet>>,
    contacts: Vec<UnsafeCell<BindingSet>>,
    /// Events that the engine has counted since they were last taken.
    pub events: RefCell<Vec<Counter>>,
    /// Full tables: insertions of dialogs and contacts fail.
    pub full: Cell<bool>,
    /// Kinds of addresses, as `ADDRESSES` has them.
    pub kinds: RefCell<Vec<(Endpoint, u32)>>,
    /// Socket of the PBX of the current message.
    pub socket: Cell<Endpoint>,
    /// Each owner has registered since the start.
    pub settled: Cell<bool>,
    /// Lives of dialog ends by their state.
    pub dialog_lives: [u64; DIALOG_STATES],
    /// Check of the UDP checksum of the current message.
    pub checksum: Cell<Checksum>,
    /// Tokens left in the one bucket that each source of STUN requests has here.
    pub tokens: Cell<u32>,
    /// Tokens left in the bucket of all sources of STUN requests together.
    pub total: Cell<u32>,
    /// Settings of media: by default, the PBX's address has slots.
    pub media_config: UnsafeCell<MediaConfig>,
    /// Slots of media that were ever bound, by the number of the address and by port.
    pub media: RefCell<BTreeMap<(u32, u16), MediaSlot>>,
    /// Events of media since they were last taken.
    pub media_events: RefCell<Vec<MediaCounter>>,
    description: UnsafeCell<Description>,
    pairing: UnsafeCell<Pairing>,
}

impl Default for MemoryEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEnv {
    /// Empty maps, at second 1000, with policy `auto`.
    pub fn new() -> Self {
        Self::with_sets(SETS)
    }

    /// The same with so many sets in each table.
    pub fn with_sets(sets: usize) -> Self {
        let table = || (0..sets).map(|_| UnsafeCell::new(Set::default())).collect();
        Self {
            now: Cell::new(1000 * SECOND),
            policy: Cell::new(Policy::Auto),
            guard: Cell::new(Guard::Off),
            shadow: Cell::new(false),
            history: RefCell::default(),
            text: RefCell::default(),
            addresses: UnsafeCell::default(),
            digest: RefCell::default(),
            tables: std::array::from_fn(|_| table()),
            copies: Default::default(),
            entry: UnsafeCell::default(),
            evidence: UnsafeCell::default(),
            route: UnsafeCell::default(),
            bindings: std::array::from_fn(|_| UnsafeCell::new(Binding::EMPTY)),
            room: RefCell::default(),
            record: UnsafeCell::default(),
            dialogs: binding_sets(),
            contacts: binding_sets(),
            events: RefCell::default(),
            full: Cell::new(false),
            kinds: RefCell::default(),
            socket: Cell::new(Endpoint::v4([203, 0, 113, 10], 5060)),
            settled: Cell::new(true),
            dialog_lives: lifetimes::of_dialogs(DIALOG_LIFE, EARLY_LIFE),
            checksum: Cell::new(Checksum::Right),
            tokens: Cell::new(u32::MAX),
            total: Cell::new(u32::MAX),
            media_config: UnsafeCell::new(media_config()),
            media: RefCell::default(),
            media_events: RefCell::default(),
            description: UnsafeCell::default(),
            pairing: UnsafeCell::default(),
        }
    }

    /// Reads the description in a message, for the engine. False if there is none.
    pub fn describe(&self, text: &[u8]) -> bool {
        let Ok(description) = sdp::read(text) else {
            return false;
        };
        // SAFETY: one thread; no reference to it is in use.
        unsafe { *self.description.get() = description };
        true
    }

    /// Scans a message and keeps its text, so that the engine can hash its parts.
    pub fn scan(&self, text: &[u8], direction: Direction) -> Result<Message, Doubt> {
        *self.text.borrow_mut() = text.to_vec();
        let scan = scanned_for(text, direction)?;
        let addresses = std::array::from_fn(|index| *scan.contact_address(index));
        // SAFETY: one thread; no reference to it is in use.
        unsafe { *self.addresses.get() = addresses };
        Ok(*scan.message())
    }

    /// Bindings of dialog ends, expired ones, too.
    pub fn dialogs(&self) -> HashMap<DialogKey, Binding> {
        all(&self.dialogs)
    }

    /// Bindings of contacts, expired ones, too.
    pub fn contacts(&self) -> HashMap<ContactKey, Binding> {
        all(&self.contacts)
    }

    /// Entries of a table of sets, in no order.
    pub fn entries<V: Value>(&self) -> Vec<Entry<V>> {
        // SAFETY: one thread, and no other reference to it is in use.
        let sets = self.tables[V::TABLE as usize]
            .iter()
            .map(|set| unsafe { *set.get() });
        sets.flat_map(|set| set.slots::<V>())
            .filter(|slot| slot.tag != 0)
            .map(|slot| slot.entry)
            .collect()
    }

    /// Forgets all bindings.
    pub fn forget_bindings(&self) {
        for set in self.dialogs.iter().chain(&self.contacts) {
            // SAFETY: one thread, and no reference to it is in use.
            unsafe { *set.get() = BindingSet::EMPTY };
        }
    }

    /// Changes all bindings.
    pub fn change_bindings(&self, change: impl Fn(&mut Binding)) {
        for set in self.dialogs.iter().chain(&self.contacts) {
            // SAFETY: one thread, and no other reference to it is in use.
            unsafe { &mut *set.get() }
                .bindings
                .iter_mut()
                .for_each(&change);
        }
    }

    fn sets<K: BindingKey>(&self) -> Slice {
        let sets = if K::CONTACT {
            &self.contacts
        } else {
            &self.dialogs
        };
        // SAFETY: the cells are valid, and lie in a row; one thread.
        unsafe { Slice::new(sets[0].get(), BINDING_SETS) }
    }
}

/// Slots for the ports of the PBX's address.
fn media_config() -> MediaConfig {
    let mut config = MediaConfig {
        ports: [10_000, u16::MAX],
        ..MediaConfig::default()
    };
    config.addresses[0] = Endpoint::v4([203, 0, 113, 10], 0).addr;
    config
}

fn binding_sets() -> Vec<UnsafeCell<BindingSet>> {
    (0..BINDING_SETS)
        .map(|_| UnsafeCell::new(BindingSet::EMPTY))
        .collect()
}

/// Copies all bindings of a table.
fn all<K: BindingKey + Eq + Hash>(sets: &[UnsafeCell<BindingSet>]) -> HashMap<K, Binding> {
    let mut found = HashMap::new();
    let mut copy = Binding::EMPTY;
    for set in sets {
        for way in 0..BINDING_WAYS {
            // SAFETY: the cell is valid; one thread.
            if unsafe { bindings::copy_slot(set.get(), way, &mut copy) } {
                found.insert(K::from_words(copy.key), copy);
            }
        }
    }
    found
}

impl Clock for MemoryEnv {
    fn now(&self) -> u64 {
        self.now.get()
    }
}

impl Hashes for MemoryEnv {
    fn hash(&self, part: usize) -> u64 {
        self.digest.borrow().hashes[part]
    }

    fn mix(&self, a: u64, b: u64, c: u64) -> u64 {
        hash::words(a, b, c, &SECRET)
    }

    fn pbx(&self) -> u64 {
        key::pbx(&self.socket.get(), false)
    }

    fn socket(&self) -> u32 {
        key::socket(&self.socket.get())
    }
}

impl Tables for MemoryEnv {
    fn slots<V: Value>(&self, key: &SlotKey) -> Option<Slots<'_, V>> {
        let table = V::TABLE as usize;
        let set = &self.tables[table][key.index as usize % self.tables[table].len()];
        // SAFETY: one thread; copies are used as `Tables` says. A value is made of words, of which any bits are one.
        Some(unsafe { Slots::new(set.get(), &mut *self.copies[table].get().cast()) })
    }

    fn entry<V: Value>(&self) -> &mut Entry<V> {
        // SAFETY: one thread; no other reference is in use. A value is made of words, of which any bits are one.
        unsafe {
            *self.entry.get() = Entry::default();
            &mut *self.entry.get().cast()
        }
    }
}

impl Bindings for MemoryEnv {
    fn buffer(&self, buffer: Buffer) -> &mut Binding {
        // SAFETY: one thread; no other reference to it is in use.
        unsafe { &mut *self.bindings[buffer as usize].get() }
    }

    fn find<K: BindingKey>(&self, key: &K, to: Buffer) -> Option<Found> {
        bindings::find(&self.sets::<K>(), key, self.buffer(to))
    }

    fn store<K: BindingKey>(&self, from: Buffer, found: Option<Found>) -> Stored {
        if self.full.get() {
            return Stored::Full;
        }
        let from = self.buffer(from);
        let key = K::from_words(from.key);
        let room = &mut self.room.borrow_mut();
        bindings::store(&self.sets::<K>(), &key, from, found, self.now(), room)
    }

    fn pushed(&self) -> Pushed {
        self.room.borrow().pushed
    }

    fn set_flags<K: BindingKey>(&self, key: &K, found: Found, flags: BindingFlags) {
        bindings::set_flags(&self.sets::<K>(), key, found, flags);
    }

    fn count_redirected<K: BindingKey>(&self, key: &K, found: Found) {
        bindings::count_redirected(&self.sets::<K>(), key, found);
    }

    fn remove_contact(&self, key: &ContactKey, found: Found) {
        bindings::forget(&self.sets::<ContactKey>(), key, found);
    }
}

impl Rules for MemoryEnv {
    fn policy(&self, _learned: &Endpoint) -> Policy {
        self.policy.get()
    }

    fn shadow(&self) -> bool {
        self.shadow.get()
    }

    fn kind_of(&self, endpoint: &Endpoint) -> u32 {
        let kinds = self.kinds.borrow();
        let found = kinds.iter().find(|(known, _)| known.addr == endpoint.addr);
        found.map_or(0, |(_, kind)| *kind)
    }

    fn dialog_lives(&self) -> &[u64; DIALOG_STATES] {
        &self.dialog_lives
    }

    fn settled(&self) -> bool {
        self.settled.get()
    }
}

impl Journal for MemoryEnv {
    fn record(&self) -> &mut Record {
        // SAFETY: one thread; no other reference is in use.
        unsafe { &mut *self.record.get() }
    }

    fn remember(&self, record: &Record) {
        self.history.borrow_mut().push(*record);
    }

    fn count(&self, event: Counter) {
        self.record().events |= event.event_bit();
        self.events.borrow_mut().push(event);
    }
}

impl Env for MemoryEnv {
    fn evidence(&self) -> &mut Evidence {
        // SAFETY: one thread; no other reference is in use.
        unsafe { &mut *self.evidence.get() }
    }

    fn route(&self) -> &mut Route {
        // SAFETY: one thread; no other reference is in use.
        unsafe { &mut *self.route.get() }
    }

    fn place_dialog(&self, key: &DialogKey, evidence: &Evidence) -> Placed {
        engine::place_dialog(self, key, evidence)
    }

    fn place_contact(&self, key: &ContactKey) -> Placed {
        engine::place_contact(self, key)
    }

    fn draft_further_contact(&self, m: &Message, index: u32) -> bool {
        engine::draft_further_contact(self, m, index)
    }

    fn note_further_contact(&self, m: &Message, index: u32) {
        engine::note_further_contact(self, m, index);
    }

    fn choose(&self, owner: u64, transmissions: u32) -> Choice {
        engine::choose(self, owner, transmissions)
    }

    fn may_follow_uri(&self) -> bool {
        engine::may_follow_uri(self)
    }

    fn has_left(&self, owner: u64, address: &Endpoint, since: u64) -> bool {
        engine::has_left(self, owner, address, since)
    }

    fn prove_pair(&self, entry: &mut Entry<Peer>) -> bool {
        engine::prove_pair(self, entry)
    }

    fn note_deaf(&self, entry: &mut Entry<Peer>) -> bool {
        engine::note_deaf(self, entry)
    }

    fn went_elsewhere(&self, invite: &OutboundTransaction, transmissions: u32) -> bool {
        engine::went_elsewhere(self, invite, transmissions)
    }

    fn route_of_invite(&self, m: &Message) -> u64 {
        engine::route_of_invite(self, m)
    }

    fn note_route(&self, found: Found, is_dialog: bool) {
        engine::note_route(self, found, is_dialog);
    }

    fn note_transmission(&self, entry: &mut Entry<Peer>, again: bool) {
        engine::note_transmission(self, entry, again);
    }

    fn note_resident(&self, entry: &mut Entry<Peer>) {
        engine::note_resident(self, entry);
    }

    fn note_proxy(&self, proxy: bool) {
        engine::note_proxy(self, proxy);
    }

    fn note_challenge(&self, cseq: u32, redirected: bool, repetitions: u8) {
        engine::note_challenge(self, cseq, redirected, repetitions);
    }

    fn prove_challenge(&self, cseq: u32) {
        engine::prove_challenge(self, cseq);
    }

    fn choose_host(&self) {
        engine::choose_host(self);
    }

    fn note_return(&self, entry: &mut Entry<Peer>) {
        engine::note_return(self, entry);
    }

    fn is_for_another_host(&self) -> bool {
        engine::is_for_another_host(self)
    }

    fn choose_by_uri(&self, transmissions: u32) -> Choice {
        engine::choose_by_uri(self, transmissions)
    }

    fn note_ping(&self, ping: &SlotKey) {
        engine::note_ping(self, ping);
    }
}

/// Takes a token. False if none is left.
fn take(tokens: &Cell<u32>) -> bool {
    let left = tokens.get().checked_sub(1);
    tokens.set(left.unwrap_or(0));
    left.is_some()
}

impl Server for MemoryEnv {
    fn take(&self, _hash: u64) -> bool {
        take(&self.tokens)
    }

    fn take_of_total(&self) -> bool {
        take(&self.total)
    }

    fn is_terminal(&self, source: &Endpoint) -> bool {
        engine::stun::is_terminal(self, source)
    }
}

impl Text for MemoryEnv {
    fn digest(&self, m: &Message, parts: u32) {
        let text = self.text.borrow();
        let mut digest = self.digest.borrow_mut();
        let (uri, hashes) = (&mut UriHash::default(), &mut digest.hashes);
        uri::uris::<_, HostLoop>(&text[..], &m.spans, parts & URIS, &SECRET, uri, hashes);
        digest.add::<HostLoop>(&m.spans, parts & !URIS, |span| {
            hash::span::<_, HostLoop>(&text[..], span, &SECRET, &mut Cursor::default())
        });
    }

    fn name(&self, span: Span) {
        let draft = self.draft();
        let text = self.text.borrow();
        let len = usize::from(span.len).min(TEXT_LEN);
        draft.text[..len].copy_from_slice(&text[span.start.into()..][..len]);
        draft.text_len = len as u8;
    }

    fn contact_address(&self, index: usize) -> &Endpoint {
        // SAFETY: one thread; the next scan comes when no reference to it is in use.
        unsafe { &(*self.addresses.get())[index] }
    }

    fn same_user(&self, a: Span, b: Span) -> bool {
        users::same(&self.text.borrow()[..], a, b)
    }

    fn same_host(&self, a: Span, b: Span) -> bool {
        let text = &self.text.borrow()[..];
        let [a, b] = [a, b].map(|uri| hosts::find(text, uri.start.into()));
        hosts::same(text, a, b)
    }

    fn is_number(&self, uri: Span) -> bool {
        users::is_number(&self.text.borrow()[..], uri)
    }

    fn names_domain(&self, m: &Message, field: Field) -> bool {
        let text = &self.text.borrow()[..];
        let ours = &self.socket.get();
        let uri = engine::uri_of(text, m, field);
        let end = hosts::plain_end(text, hosts::end_of(text, uri), ours.port);
        let domain = hosts::find(text, m.span(Field::ToUri).start.into());
        uri != 0 && engine::names_domain(text, field, uri, end, domain, ours)
    }

    fn leads_to_target(&self, m: &Message, port: u32) -> bool {
        let text = &self.text.borrow()[..];
        let [uri, request] = [Field::Route, Field::RequestUri].map(|f| engine::uri_of(text, m, f));
        let [route, request] = [uri, request].map(|uri| hosts::find(text, uri));
        let end = hosts::plain_end(text, hosts::end_of(text, route), port);
        uri != 0 && engine::leads_to_target(text, route, end, request)
    }

    fn place_registration(&self, m: &Message) {
        engine::place_registration(self, m);
    }

    fn remember_request_uri(&self, m: &Message) {
        engine::remember_request_uri(self, m);
    }

    fn checksum(&self) -> Checksum {
        self.checksum.get()
    }
}

impl MediaSlots for MemoryEnv {
    fn media_config(&self) -> &MediaConfig {
        // SAFETY: one thread; tests change it between messages only.
        unsafe { &*self.media_config.get() }
    }

    fn pairing(&self) -> &mut Pairing {
        // SAFETY: one thread; references are used as in the kernel.
        unsafe { &mut *self.pairing.get() }
    }

    fn bind(&self, number: u32, port: u16) {
        let mut media = self.media.borrow_mut();
        let slot = media.entry((number, port)).or_default();
        // SAFETY: one thread.
        let bound = unsafe { nat_common::media::bind(slot, &self.pairing().binding) };
        let event = media::event_of(bound);
        self.pairing().add(event);
        self.count_media(event);
    }

    fn owner(&self, number: u32, port: u16) -> Option<DialogKey> {
        let mut media = self.media.borrow_mut();
        // SAFETY: one thread.
        unsafe { nat_common::media::owner(media.get_mut(&(number, port))?) }
    }

    fn describe(&self, number: u32, port: u16) {
        if let Some(slot) = self.media.borrow_mut().get_mut(&(number, port)) {
            // SAFETY: one thread.
            unsafe { nat_common::media::describe(slot, &mut self.pairing().binding) };
        }
    }

    fn extend(&self, number: u32, port: u16, expires: u64) {
        if let Some(slot) = self.media.borrow_mut().get_mut(&(number, port)) {
            // SAFETY: one thread.
            unsafe { nat_common::media::extend(slot, expires) };
        }
    }

    fn clear(&self, number: u32, port: u16) {
        if let Some(slot) = self.media.borrow_mut().get_mut(&(number, port)) {
            // SAFETY: one thread.
            unsafe { nat_common::media::clear(slot) };
        }
    }

    fn open(&self, number: u32, port: u16) {
        if let Some(slot) = self.media.borrow_mut().get_mut(&(number, port)) {
            // SAFETY: one thread.
            unsafe { nat_common::media::open(slot) };
        }
    }

    fn guard(&self, number: u32, port: u16, source: &Endpoint) -> Guard {
        let mut media = self.media.borrow_mut();
        let Some(slot) = media.get_mut(&(number, port)) else {
            return Guard::Off;
        };
        // SAFETY: one thread.
        if unsafe { nat_common::media::is_intruder(slot, source, ticks(self.now.get())) } {
            self.guard.get()
        } else {
            Guard::Off
        }
    }

    fn count_media(&self, event: MediaCounter) {
        self.media_events.borrow_mut().push(event);
    }

    fn is_signalling(&self, port: u16) -> bool {
        u32::from(port) == self.socket.get().port || port == 3478
    }
}

impl Media for MemoryEnv {
    fn description(&self) -> &Description {
        // SAFETY: one thread; it changes between messages only.
        unsafe { &*self.description.get() }
    }

    fn bind_line(&self, index: u32) {
        media::bind_line(self, index);
    }

    fn open_line(&self, index: u32) {
        media::open_line(self, index);
    }
}
