//! What the decisions need, from the maps and helpers of the kernel.

use core::marker::PhantomData;
use core::ptr::NonNull;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::maps::lpm_trie::Key;
use nat_common::abi::Counter;
use nat_common::abi::{Binding, Config, ContactKey, DialogKey, Entry, Policy, Record, TEXT_LEN};
use nat_common::bpf::Repeat;
use nat_common::bpf::bounded;
use nat_common::bytes::swar;
use nat_common::bytes::{Source as _, Span};
use nat_common::endpoint::Endpoint;
use nat_common::engine::{self, Env, Table};
use nat_common::sip::{Message, SPANS};
use nat_common::tables::hash;
use nat_common::tables::slots::{SlotKey, Slots};

use crate::maps::{
    self, CONTACTS, DIALOGS, FRAGMENTS, INBOUND, OUTBOUND, PEERS, PENDING, POLICY, Room, STUN,
};
use crate::text::Text;

/// The text of a message, and how it is gone over.
pub(crate) struct Read<'r, L> {
    text: &'r Text,
    repeat: PhantomData<L>,
}

/// The kernel, while one message is worked on. `R` is a [`Read`] where one is needed.
pub(crate) struct Kernel<'r, R = ()> {
    read: R,
    config: &'static Config,
    room: &'r Room,
    now: u64,
}

impl<'r, L> Kernel<'r, Read<'r, L>> {
    #[inline(always)]
    pub(crate) fn reading(text: &'r Text, config: &'static Config, room: &'r Room) -> Self {
        let Kernel {
            config, room, now, ..
        } = Kernel::new(config, room);
        Self {
            read: Read {
                text,
                repeat: PhantomData,
            },
            config,
            room,
            now,
        }
    }
}

impl<'r> Kernel<'r> {
    #[inline(always)]
    pub(crate) fn new(config: &'static Config, room: &'r Room) -> Self {
        Self {
            read: (),
            config,
            room,
            // SAFETY: a helper without arguments. It reads no clock, only what the last tick left.
            now: unsafe { bpf_ktime_get_coarse_ns() },
        }
    }
}

/// Verified once, as those of `nat_common::tables::slots`; so are `place_dialog` and `place_contact`.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn mix(a: u64, b: u64, c: u64, secret: *const [u64; 2]) -> u64 {
    if secret.is_null() {
        return 0;
    }
    // SAFETY: it comes from a reference.
    hash::words(a, b, c, unsafe { &*secret })
}

/// Of the message in the room of a direction. Not 0: a new dialog end is in the draft.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn place_dialog(
    direction: u32,
    call: u64,
    tag: u64,
    place: *const Entry,
    now: u64,
) -> u32 {
    let (Some(room), Some(config)) = (Room::at(direction), maps::config()) else {
        return 0;
    };
    if place.is_null() {
        return 0;
    }
    // SAFETY: it comes from a reference.
    let place = unsafe { &*place };
    let env = Kernel {
        read: (),
        config,
        room: &room,
        now,
    };
    engine::place_dialog(&env, room.message(), call, tag, place).into()
}

/// Of the draft in the room of a direction. 0: the REGISTER is an old one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_contact(direction: u32, uri: u64, aor: u64, now: u64) -> u32 {
    let (Some(room), Some(config)) = (Room::at(direction), maps::config()) else {
        return 0;
    };
    let env = Kernel {
        read: (),
        config,
        room: &room,
        now,
    };
    engine::place_contact(&env, &ContactKey { uri, aor }).into()
}

/// A function of its own: it is called for dialogs and for contacts, and there is little room on the stack.
#[inline(never)]
fn copy(message: &Text, span: Span, draft: &mut Binding) {
    let start = u32::from(span.start);
    let len = u32::from(span.len).min(TEXT_LEN as u32);
    let text = draft.text.as_mut_ptr().cast::<u64>();
    for chunk in 0..TEXT_LEN as u32 / 8 {
        let at = chunk * 8;
        let word = swar::head(message.word(start + at), len.saturating_sub(at));
        // SAFETY: within the text, which lies at a multiple of eight.
        unsafe { text.add(chunk as usize).write(word) };
    }
    draft.text_len = len as u8;
}

impl<R> Env for Kernel<'_, R> {
    #[inline(always)]
    fn now(&self) -> u64 {
        self.now
    }

    #[inline(always)]
    fn hash(&self, part: usize) -> u64 {
        // SAFETY: the index is in bounds.
        unsafe {
            *self
                .room
                .digest()
                .hashes
                .get_unchecked(bounded::<SPANS>(part))
        }
    }

    #[inline(always)]
    fn slots(&self, table: Table, key: &SlotKey) -> Option<Slots<'_>> {
        let (map, mask) = match table {
            Table::Inbound => (&INBOUND, self.config.transaction_mask),
            Table::Outbound => (&OUTBOUND, self.config.transaction_mask),
            Table::Pending => (&PENDING, self.config.pending_mask),
            Table::Peers => (&PEERS, self.config.peer_mask),
            Table::Fragments => (&FRAGMENTS, self.config.fragment_mask),
            Table::Stun => (&STUN, self.config.stun_mask),
        };
        let set = map.get_ptr_mut(key.index & mask)?;
        // SAFETY: an array map's value is always valid, aligned to eight, and only these programs
        // write to it.
        Some(unsafe { Slots::new(set, self.room.copy(table)) })
    }

    #[inline(always)]
    fn entry(&self) -> &mut Entry {
        self.room.entry()
    }

    #[inline(always)]
    fn dialog(&self, key: &DialogKey) -> Option<NonNull<Binding>> {
        DIALOGS.get_ptr_mut(key).and_then(NonNull::new)
    }

    #[inline(always)]
    fn contact(&self, key: &ContactKey) -> Option<NonNull<Binding>> {
        CONTACTS.get_ptr_mut(key).and_then(NonNull::new)
    }

    #[inline(always)]
    fn draft(&self) -> &mut Binding {
        self.room.draft()
    }

    #[inline(always)]
    fn put_dialog(&self, key: &DialogKey, draft: &Binding) -> bool {
        DIALOGS.insert(key, draft, 0).is_ok()
    }

    #[inline(always)]
    fn put_contact(&self, key: &ContactKey, draft: &Binding) -> bool {
        CONTACTS.insert(key, draft, 0).is_ok()
    }

    #[inline(always)]
    fn remove_contact(&self, key: &ContactKey) {
        // That it was not there is no error.
        let _ = CONTACTS.remove(key);
    }

    #[inline(always)]
    fn policy(&self, learned: &Endpoint) -> Policy {
        match POLICY.get(Key::new(128, learned.addr)) {
            Some(rule) => Policy::from_u8(rule.policy),
            None => Policy::Off,
        }
    }

    #[inline(always)]
    fn mix(&self, a: u64, b: u64, c: u64) -> u64 {
        // SAFETY: a valid reference.
        unsafe { mix(a, b, c, &self.config.secret) }
    }

    #[inline(always)]
    fn shadow(&self) -> bool {
        self.config.shadow != 0
    }

    #[inline(always)]
    fn record(&self) -> &mut Record {
        self.room.record()
    }

    #[inline(always)]
    fn remember(&self, record: &Record) {
        maps::remember(record, self.config.history_mask);
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        self.room.record().events |= counter.event_bit();
        maps::count(counter);
    }
    #[inline(always)]
    fn place_dialog(&self, _: &Message, call: u64, tag: u64, place: &Entry) -> bool {
        // SAFETY: a valid reference.
        unsafe { place_dialog(self.room.direction(), call, tag, place, self.now) != 0 }
    }

    #[inline(always)]
    fn place_contact(&self, key: &ContactKey) -> bool {
        place_contact(self.room.direction(), key.uri, key.aor, self.now) != 0
    }
}

impl<L: Repeat> engine::Text for Kernel<'_, Read<'_, L>> {
    #[inline(always)]
    fn digest(&self, m: &Message, parts: u32) {
        self.room.digest().add::<L>(&m.spans, parts, |span| {
            hash::span::<_, L>(
                self.read.text,
                span,
                &self.config.secret,
                self.room.cursor(),
            )
        });
    }

    #[inline(always)]
    fn name(&self, draft: &mut Binding, span: Span) {
        copy(self.read.text, span, draft);
    }
}
