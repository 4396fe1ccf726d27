//! One line of the list of bindings.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use nat_common::{
    abi::{
        Binding, BindingFlags, ContactKey, DialogKey, Entry, InboundFlags, InboundTransaction,
        PendingDialog, PendingFlags, SECOND, TEXT_LEN, age, ticks,
    },
    endpoint::Endpoint,
    engine::lifetimes::TRANSACTION_LIFE,
};
use serde::Serialize;

use crate::view::output::{self, Columns};

/// Identity that a binding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BindingKind {
    /// One end of a dialog.
    Dialog,
    /// A registered contact.
    Contact,
}

impl BindingKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Dialog, Self::Contact];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dialog => "dialog",
            Self::Contact => "contact",
        }
    }
}

/// State of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingState {
    /// Packets are redirected by it, as far as the policy allows.
    Active,
    /// The terminal answers at the original destination, so nothing is redirected.
    LeftAlone,
    /// Two live terminals claim it.
    Ambiguous,
    /// The PBX has not accepted it yet.
    Pending,
}

impl BindingState {
    /// All states.
    pub const ALL: [Self; 4] = [
        Self::Active,
        Self::LeftAlone,
        Self::Ambiguous,
        Self::Pending,
    ];

    /// Returns its name in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::LeftAlone => "left_alone",
            Self::Ambiguous => "ambiguous",
            Self::Pending => "pending",
        }
    }

    /// Returns the state of an active binding at `now`.
    pub(super) const fn of(binding: &Binding, now: u64) -> Self {
        if binding.is_ambiguous(now) {
            Self::Ambiguous
        } else if binding.flags.contains(BindingFlags::LEFT_ALONE) {
            Self::LeftAlone
        } else {
            Self::Active
        }
    }
}

/// Place of a row in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// Key in `DIALOGS`.
    Dialog(DialogKey),
    /// Key in `CONTACTS`.
    Contact(ContactKey),
    /// Tag of a slot in `PENDING` or `INBOUND`.
    Slot(u64),
}

impl RowKey {
    /// Returns the id of the row on the command line.
    #[must_use]
    pub fn id(self) -> String {
        let (first, second) = self.halves();
        match self {
            Self::Dialog(_) | Self::Contact(_) => {
                let mut id = String::with_capacity(32);
                id.extend(hex(first, 16));
                id.extend(hex(second, 16));
                id
            }
            Self::Slot(_) => hex(first >> GENERATION, 12).collect(),
        }
    }

    /// Returns what tells the row from all others: what its id is made of.
    const fn identity(self) -> Identity {
        match self {
            Self::Dialog(_) | Self::Contact(_) => self.halves(),
            Self::Slot(tag) => (tag >> GENERATION, 0),
        }
    }

    /// Returns the id as numbers. Rows often share half of their key: both ends of a proxied call have its Call-ID, two
    /// owners may have one Contact.
    const fn halves(self) -> (u64, u64) {
        let (first, second) = match self {
            Self::Dialog(key) => (key.call, key.tag),
            Self::Contact(key) => (key.uri, key.aor),
            Self::Slot(tag) => (tag, 0),
        };
        (first ^ second.rotate_left(32), second)
    }
}

/// Bits of a slot's tag that differ from one use of the slot to the next.
const GENERATION: u32 = 16;

/// What tells a row from all others.
pub(super) type Identity = (u64, u64);

/// Returns the lowest digits of a number in hexadecimal. A list has a million of them; `format!` takes ten times as long.
fn hex(number: u64, digits: u32) -> impl Iterator<Item = char> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = (0..digits).rev();
    digits.map(move |digit| char::from(DIGITS[(number >> (4 * digit) & 0xf) as usize]))
}

/// Number of characters of a terminal by which rows are sorted. A list of a million keeps the order of each row.
const TERMINAL_ORDER: usize = 22;

/// Place of a row in a sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    state: BindingState,
    kind: BindingKind,
    terminal: [u8; TERMINAL_ORDER],
    id: u64,
}

/// One binding, as shown.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the row on the command line; the first characters will do.
    pub id: String,
    /// Place in the maps.
    #[serde(skip)]
    pub key: RowKey,
    /// `user@host`.
    pub terminal: Option<String>,
    /// Contact URI without its scheme, as the PBX lists it, as far as it fits.
    pub uri: Option<String>,
    /// Identity that it belongs to.
    pub kind: BindingKind,
    /// State.
    pub state: BindingState,
    /// Details of the state: early, ended, through a proxy.
    pub notes: Vec<&'static str>,
    /// Flags of the binding.
    #[serde(skip)]
    pub flags: BindingFlags,
    /// Owner of the binding: the hash of the terminal's address-of-record; 0 if unknown.
    #[serde(skip)]
    pub owner: u64,
    /// Advertised address.
    pub advertised: Option<SocketAddr>,
    /// Learned address.
    pub learned: SocketAddr,
    /// Age.
    pub age_seconds: u64,
    /// Time since the last accepted message or STUN keepalive.
    pub seen_seconds_ago: u64,
    /// Time since the last STUN keepalive from the learned address, if there was one.
    pub stun_seen_seconds_ago: Option<u64>,
    /// Round-trip time of the last OPTIONS of sipnat that the terminal answered (`--keepalive`), if it answers.
    pub round_trip_microseconds: Option<u64>,
    /// Set if the terminal answers the OPTIONS of sipnat no more.
    pub silent: bool,
    /// Set if the terminal's STUN keepalives come from another address now.
    pub moved: bool,
    /// The other address, if there is only one that it can be.
    pub moved_to: Option<SocketAddr>,
    /// Time until it expires.
    pub expires_in_seconds: u64,
    /// Number of redirected packets.
    pub redirected: u64,
}

/// Claim to a binding that the PBX has not accepted yet.
pub(crate) struct Claim {
    source: Endpoint,
    advertised: Endpoint,
    flags: BindingFlags,
    ambiguous: bool,
    at: u64,
}

impl Claim {
    /// Returns its state.
    pub(super) const fn state(&self) -> BindingState {
        if self.ambiguous {
            BindingState::Ambiguous
        } else {
            BindingState::Pending
        }
    }
}

impl From<&Entry<PendingDialog>> for Claim {
    fn from(entry: &Entry<PendingDialog>) -> Self {
        Self {
            source: entry.value.source(),
            advertised: entry.value.advertised(),
            flags: BindingFlags::from_bits_truncate(entry.value.flags.bits())
                & BindingFlags::DIRECT,
            ambiguous: entry.value.flags.contains(PendingFlags::AMBIGUOUS),
            at: entry.at,
        }
    }
}

impl From<&Entry<InboundTransaction>> for Claim {
    fn from(entry: &Entry<InboundTransaction>) -> Self {
        Self {
            source: entry.value.source(),
            advertised: entry.value.advertised(),
            // Other flags share bits with those of bindings.
            flags: BindingFlags::from_bits_truncate(entry.value.flags.bits())
                & (BindingFlags::DIRECT | BindingFlags::OWN_USER),
            ambiguous: entry.value.flags.contains(InboundFlags::AMBIGUOUS),
            at: entry.at,
        }
    }
}

impl Row {
    pub(crate) fn new(key: RowKey, kind: BindingKind, binding: &Binding, now: u64) -> Self {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) / SECOND;
        let text = text_of(binding);
        Self {
            id: key.id(),
            key,
            terminal: (!text.is_empty()).then(|| output::printable(text)),
            uri: None,
            kind,
            state: BindingState::of(binding, now),
            notes: notes(binding.flags),
            flags: binding.flags,
            owner: binding.aor,
            advertised: known(binding.advertised),
            learned: binding.learned.into(),
            age_seconds: seconds(binding.created, now),
            seen_seconds_ago: seconds(binding.seen, now),
            stun_seen_seconds_ago: None,
            round_trip_microseconds: None,
            silent: false,
            moved: false,
            moved_to: None,
            expires_in_seconds: seconds(now, binding.expires),
            redirected: binding.redirected,
        }
    }

    /// Returns its place in a sorted list.
    pub(super) fn order(&self) -> Order {
        let mut terminal = [0; TERMINAL_ORDER];
        let text = self.terminal.as_deref().unwrap_or_default().as_bytes();
        let len = text.len().min(TERMINAL_ORDER);
        terminal[..len].copy_from_slice(&text[..len]);
        Order {
            state: self.state,
            kind: self.kind,
            terminal,
            id: self.key.halves().0,
        }
    }

    pub(crate) fn pending(key: RowKey, kind: BindingKind, claim: &Claim, now: u64) -> Self {
        let seconds = |age: u64| age / ticks(SECOND);
        let age = age(now, claim.at);
        Self {
            id: key.id(),
            key,
            terminal: None,
            uri: None,
            kind,
            state: claim.state(),
            notes: notes(claim.flags),
            flags: claim.flags,
            owner: 0,
            advertised: known(claim.advertised),
            learned: claim.source.into(),
            age_seconds: seconds(age),
            seen_seconds_ago: seconds(age),
            stun_seen_seconds_ago: None,
            round_trip_microseconds: None,
            silent: false,
            moved: false,
            moved_to: None,
            expires_in_seconds: seconds(TRANSACTION_LIFE.saturating_sub(age)),
            redirected: 0,
        }
    }

    /// Returns what tells it from all others.
    pub(super) const fn identity(&self) -> Identity {
        self.key.identity()
    }

    /// Whether `text` means this row: the start of its id, its terminal, user, Contact URI, or an address.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let terminal = self.terminal.as_deref().unwrap_or_default();
        (text.len() >= 2 && self.id.starts_with(text))
            || terminal == text
            || self.uri.as_deref().is_some_and(|uri| is_uri(text, uri))
            || terminal.split('@').any(|part| part == text)
            || self
                .addresses()
                .any(|addr| addr.to_string() == text || addr.ip().to_string() == text)
    }

    /// Whether it is a dialog end of one of `calls`, as keys have them.
    pub(super) fn is_end_of(&self, calls: &HashSet<u64>) -> bool {
        matches!(self.key, RowKey::Dialog(key) if calls.contains(&key.call))
    }

    /// Returns its learned and its advertised address.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        [Some(self.learned), self.advertised].into_iter().flatten()
    }

    /// Describes the state.
    pub(crate) fn state(&self) -> String {
        self.state_with(None)
    }

    /// Describes the state, and how fast the terminal answers keepalives.
    pub(crate) fn state_and_round_trip(&self) -> String {
        self.state_with(self.round_trip())
    }

    fn state_with(&self, round_trip: Option<String>) -> String {
        let state = match self.state {
            BindingState::Active => "active",
            BindingState::LeftAlone => "left alone",
            BindingState::Ambiguous => "ambiguous",
            BindingState::Pending => "pending",
        };
        let mut notes: Vec<String> = self.notes.iter().map(ToString::to_string).collect();
        if self.silent {
            notes.push("silent".into());
        } else if let Some(round_trip) = round_trip {
            notes.push(format!("answers in {round_trip}"));
        }
        if self.moved {
            let to = self.moved_to.map(|addr| format!(" to {addr}"));
            notes.push(format!("moved{}", to.unwrap_or_default()));
        }
        if notes.is_empty() {
            state.into()
        } else {
            format!("{state} ({})", notes.join(", "))
        }
    }

    /// Returns its cells, as [`columns`] has them.
    pub(super) fn cells(&self) -> [String; COLUMNS] {
        [
            self.id[..8].into(),
            self.terminal.clone().unwrap_or_else(|| "-".into()),
            self.kind().into(),
            self.state_and_round_trip(),
            self.advertised(),
            self.learned.to_string(),
            seconds(self.age_seconds),
            seconds(self.seen_seconds_ago),
            seconds(self.expires_in_seconds),
            self.redirected.to_string(),
        ]
    }

    /// Writes the round-trip time, if it is known.
    fn round_trip(&self) -> Option<String> {
        let micros = self.round_trip_microseconds?;
        Some(if micros < 10_000 {
            format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
        } else {
            format!("{} ms", micros / 1000)
        })
    }

    /// Names the kind.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// Writes the advertised address.
    pub(crate) fn advertised(&self) -> String {
        self.advertised
            .map_or_else(|| "-".into(), |addr| addr.to_string())
    }
}

/// Returns the text of a binding.
pub(crate) fn text_of(binding: &Binding) -> &[u8] {
    &binding.text[..usize::from(binding.text_len).min(binding.text.len())]
}

fn notes(flags: BindingFlags) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for (bit, note) in [
        (BindingFlags::EARLY, "early"),
        (BindingFlags::UNACKNOWLEDGED, "no ACK"),
        (BindingFlags::ENDED, "ended"),
    ] {
        if flags.contains(bit) {
            notes.push(note);
        }
    }
    if !flags.contains(BindingFlags::DIRECT) {
        notes.push("through a proxy");
    }
    notes
}

/// Whether a text means a Contact URI that is kept without scheme, as far as it fits.
fn is_uri(text: &str, uri: &str) -> bool {
    let text = text.trim_start_matches('<').trim_end_matches('>');
    let text = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"))
        .unwrap_or(text);
    text == uri || uri.len() == TEXT_LEN && text.starts_with(uri)
}

/// Returns an address, if it is known.
pub(crate) fn known(endpoint: Endpoint) -> Option<SocketAddr> {
    (!endpoint.is_unknown()).then(|| endpoint.into())
}

/// Number of columns of the list.
pub(super) const COLUMNS: usize = 10;

/// Returns the columns of the list.
pub(super) fn columns() -> Columns<COLUMNS> {
    let headings = [
        "ID",
        "TERMINAL",
        "KIND",
        "STATE",
        "ADVERTISED",
        "LEARNED",
        "AGE",
        "SEEN",
        "EXPIRES",
        "REDIRECTED",
    ];
    Columns::new(headings, &[COLUMNS - 1])
}

/// Renders rows under headings.
pub(crate) fn table(rows: &[Row]) -> String {
    output::table(columns(), rows.iter().map(Row::cells))
}

/// Writes a number of seconds in its two largest units.
pub(crate) fn seconds(seconds: u64) -> String {
    output::duration(Duration::from_secs(seconds))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NOW: u64 = 1_000 * SECOND;

    pub(crate) fn binding(text: &str) -> Binding {
        let mut binding = Binding {
            created: NOW - 65 * SECOND,
            seen: NOW - 5 * SECOND,
            expires: NOW + 60 * SECOND,
            redirected: 3,
            arrived: ticks(NOW - 5 * SECOND),
            learned: Endpoint::v4([60, 17, 196, 2], 49163),
            advertised: Endpoint::v4([60, 17, 196, 2], 5060),
            flags: BindingFlags::DIRECT,
            text_len: u8::try_from(text.len()).unwrap(),
            ..Binding::EMPTY
        };
        binding.text[..text.len()].copy_from_slice(text.as_bytes());
        binding
    }

    #[test]
    fn the_list_reads_as_a_table() {
        let dialog = DialogKey {
            call: 0xabcd << 48,
            tag: 1,
        };
        let early = Binding {
            flags: BindingFlags::DIRECT | BindingFlags::EARLY,
            ..binding("1000@60.17.196.2")
        };
        let row = Row::new(RowKey::Dialog(dialog), BindingKind::Dialog, &early, NOW);
        let text = table(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ID        TERMINAL          KIND    STATE           ADVERTISED        LEARNED            AGE    SEEN  EXPIRES  REDIRECTED",
                "abcd0001  1000@60.17.196.2  dialog  active (early)  60.17.196.2:5060  60.17.196.2:49163  1m 5s  5s    1m                3",
            ]
        );
    }

    #[test]
    fn the_list_is_sorted_by_state_kind_terminal_and_id() {
        let row = |call, text| {
            let key = DialogKey { call, tag: 0 };
            Row::new(
                RowKey::Dialog(key),
                BindingKind::Dialog,
                &binding(text),
                NOW,
            )
        };
        let mut ambiguous = row(0, "1000@a");
        ambiguous.state = BindingState::Ambiguous;
        let mut contact = row(0, "1000@a");
        contact.kind = BindingKind::Contact;
        let sorted = [
            row(7, "1000@a"),
            row(8, "1000@a"),
            row(0, "1000@b"),
            row(0, "1001"),
            contact,
            ambiguous,
        ];
        assert!(sorted.is_sorted_by(|a, b| a.order() < b.order()));
    }

    #[test]
    fn who_has_moved_is_shown_and_where_to_if_that_is_known() {
        let dialog = DialogKey { call: 1, tag: 2 };
        let early = Binding {
            flags: BindingFlags::DIRECT | BindingFlags::EARLY,
            ..binding("1000@a")
        };
        let mut row = Row::new(RowKey::Dialog(dialog), BindingKind::Dialog, &early, NOW);
        row.moved = true;
        assert_eq!(row.state(), "active (early, moved)");
        row.moved_to = "60.17.196.2:50001".parse().ok();
        assert_eq!(row.state(), "active (early, moved to 60.17.196.2:50001)");
    }

    #[test]
    fn a_terminal_that_answers_where_the_pbx_means_is_left_alone() {
        let alone = Binding {
            flags: BindingFlags::DIRECT | BindingFlags::LEFT_ALONE,
            ..binding("1000@a")
        };
        let dialog = DialogKey { call: 1, tag: 2 };
        let row = Row::new(RowKey::Dialog(dialog), BindingKind::Dialog, &alone, NOW);
        assert!(table(std::slice::from_ref(&row)).contains("  left alone  "));
        assert_eq!(serde_json::to_value(&row).unwrap()["state"], "left_alone");
    }

    #[test]
    fn a_register_from_several_sources_is_ambiguous() {
        let now = ticks(NOW);
        let claim = |flags| {
            let value = InboundTransaction {
                flags: flags | InboundFlags::REGISTER | InboundFlags::DIRECT,
                ..InboundTransaction::default()
            };
            let claim = (&Entry { value, at: now }).into();
            Row::pending(RowKey::Slot(1 << 24), BindingKind::Contact, &claim, now)
        };
        assert_eq!(
            claim(InboundFlags::AMBIGUOUS).state,
            BindingState::Ambiguous
        );
        // This flag has the bit of `PROVEN` in bindings.
        let row = claim(InboundFlags::CHALLENGED);
        assert_eq!(
            (row.state, row.flags),
            (BindingState::Pending, BindingFlags::DIRECT)
        );
    }

    #[test]
    fn an_entry_written_after_the_clock_was_read_is_new() {
        let now = ticks(NOW);
        let entry = Entry {
            value: PendingDialog::default(),
            at: now + 1,
        };
        let row = Row::pending(
            RowKey::Slot(1 << 24),
            BindingKind::Dialog,
            &(&entry).into(),
            now,
        );
        assert_eq!((row.age_seconds, row.expires_in_seconds), (0, 32));
    }
}
