//! State that the PBX, the phones, the flood and the conductor share.

use std::{
    fmt,
    net::SocketAddrV4,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, ensure};
use nat_test_support::PBX;

/// Stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Stage {
    /// Calls and the requests in them.
    Load,
    /// No new calls and requests; pending ones are answered.
    Quiet,
    /// The PBX ends all calls.
    Close,
    /// All threads end.
    Over,
}

/// Counter of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Registrations,
    Challenged,
    CallsOut,
    CallsIn,
    Cancelled,
    Reinvites,
    Sent,
    Answered,
    Resent,
    Right,
    Wrong,
    LostInChange,
    Lost,
    PhonesAsked,
    PhonesAnswered,
    PhonesLostInChange,
    PhonesLost,
    WrongResponses,
    Changes,
    Junk,
    CallsUp,
    AudioRight,
    AudioSteady,
    AudioLost,
    AudioLostInChange,
    AudioWrong,
}

impl Figure {
    const ALL: [(Self, &str); 26] = [
        (Self::Registrations, "registrations accepted"),
        (Self::Challenged, "  of them challenged first"),
        (Self::CallsOut, "calls of phones established"),
        (Self::CallsIn, "calls to phones established"),
        (Self::Cancelled, "calls to phones cancelled"),
        (
            Self::Reinvites,
            "re-INVITEs and UPDATEs of the PBX answered",
        ),
        (Self::Sent, "requests of the PBX sent, without ACK"),
        (Self::Answered, "  of them answered"),
        (Self::Resent, "  sent again by timer"),
        (
            Self::LostInChange,
            "  lost, begun before or in a change of mapping",
        ),
        (Self::Lost, "  lost otherwise"),
        (Self::Right, "arrived at their phone, with ACK and repeats"),
        (Self::Wrong, "arrived at another phone"),
        (Self::PhonesAsked, "requests of phones sent, without ACK"),
        (Self::PhonesAnswered, "  of them answered"),
        (
            Self::PhonesLostInChange,
            "  given up because of a change of mapping",
        ),
        (Self::PhonesLost, "  lost otherwise"),
        (
            Self::WrongResponses,
            "responses that arrived at another phone",
        ),
        (Self::Changes, "changes of a site's mapping"),
        (Self::Junk, "junk packets"),
        (Self::CallsUp, "calls up at once, at most"),
        (Self::AudioRight, "audio of the PBX arrived at its phone"),
        (
            Self::AudioSteady,
            "audio of the PBX sent in a call of two seconds and more",
        ),
        (Self::AudioLost, "  lost"),
        (
            Self::AudioLostInChange,
            "audio of the PBX lost in a change of mapping",
        ),
        (Self::AudioWrong, "audio that arrived at another end"),
    ];
}

/// One run.
pub(crate) struct Shared {
    /// Number that distinguishes this run's identifiers from those of another run.
    pub(crate) run: u64,
    stage: AtomicU32,
    figures: [AtomicU64; Figure::ALL.len()],
    mappings: Vec<Mapping>,
    /// Whether the PBX has a call with each phone that both have confirmed.
    up: Vec<AtomicBool>,
    /// The longest pause of the PBX or the phones, in milliseconds. On a busy machine this explains lost messages.
    longest_pause: AtomicU64,
    /// Time that the last datagram waited for the PBX, in milliseconds.
    queue: AtomicU64,
    /// Datagrams for the PBX that the kernel dropped.
    dropped: AtomicU32,
    /// Stage in which the PBX has nothing pending.
    idle: AtomicU32,
    /// Phones as the PBX knew them when it last became idle.
    known: Mutex<Vec<Known>>,
    /// Call-IDs of requests that were lost, for `sipnat explain`.
    lost: Mutex<Vec<String>>,
}

/// A phone as the PBX knows it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) phone: usize,
    /// Source of its last accepted request: its mapping.
    pub(crate) source: SocketAddrV4,
    pub(crate) in_call: bool,
}

/// A phone's mapping at its NAT.
#[derive(Default)]
struct Mapping {
    changes: AtomicU32,
    /// Whether the PBX cannot know the mapping yet.
    open: AtomicBool,
}

/// State of a phone's mapping when a request begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) phone: usize,
    pub(crate) changes: u32,
    open: bool,
}

impl Shared {
    pub(crate) fn new(phones: usize) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            run: now.as_nanos() as u64,
            stage: AtomicU32::new(Stage::Load as u32),
            figures: Default::default(),
            longest_pause: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            dropped: AtomicU32::new(0),
            mappings: (0..phones).map(|_| Mapping::default()).collect(),
            up: (0..phones).map(|_| AtomicBool::new(false)).collect(),
            idle: AtomicU32::new(0),
            known: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// A request is lost, and no change of mapping explains it.
    pub(crate) fn lose(&self, figure: Figure, call_id: &str) {
        self.count(figure);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.push(call_id.to_owned());
    }

    /// Returns the Call-IDs of requests that were lost since the last time.
    pub(crate) fn take_lost(&self) -> Vec<String> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(SeqCst) {
            0 => Stage::Load,
            1 => Stage::Quiet,
            2 => Stage::Close,
            _ => Stage::Over,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, SeqCst);
    }

    /// The PBX has nothing pending in `stage`, or begins to.
    pub(crate) fn set_idle(&self, stage: Stage, known: impl FnOnce() -> Vec<Known>) {
        if self.idle.load(SeqCst) != stage as u32 {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known();
            self.idle.store(stage as u32, SeqCst);
        }
    }

    /// Waits until nothing is pending.
    pub(crate) fn wait_idle(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while self.idle.load(SeqCst) != self.stage() as u32 || self.unsettled() > 0 {
            let waited = start.elapsed();
            ensure!(
                waited < limit,
                "after {waited:?} there are still requests under way, or unsettled phones: {}",
                self.unsettled()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn known(&self) -> Vec<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    pub(crate) fn count(&self, figure: Figure) {
        self.figures[figure as usize].fetch_add(1, SeqCst);
    }

    /// Says which phones have a call that is up.
    pub(crate) fn set_up(&self, phones: impl Iterator<Item = usize>) {
        let mut up = vec![false; self.up.len()];
        phones.for_each(|phone| up[phone] = true);
        let count = up.iter().filter(|up| **up).count() as u64;
        for (known, up) in self.up.iter().zip(up) {
            known.store(up, SeqCst);
        }
        self.figures[Figure::CallsUp as usize].fetch_max(count, SeqCst);
    }

    /// Whether a phone has one.
    pub(crate) fn is_up(&self, phone: usize) -> bool {
        self.up[phone].load(SeqCst)
    }

    /// Records a pause of the PBX or the phones.
    pub(crate) fn paused(&self, pause: Duration) {
        self.longest_pause
            .fetch_max(pause.as_millis() as u64, SeqCst);
    }

    /// Says how long the last datagram waited for the PBX, and how many the kernel has dropped.
    pub(crate) fn set_queue(&self, waited: Duration, dropped: u32) {
        self.queue.store(waited.as_millis() as u64, SeqCst);
        self.dropped.store(dropped, SeqCst);
    }

    /// Returns the time that the last datagram waited for the PBX.
    pub(crate) fn queue(&self) -> Duration {
        Duration::from_millis(self.queue.load(SeqCst))
    }

    /// Returns the number of datagrams that the PBX never saw, because it was too slow.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.load(SeqCst)
    }

    pub(crate) fn get(&self, figure: Figure) -> u64 {
        self.figures[figure as usize].load(SeqCst)
    }

    /// Returns the progress in one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} sent, {} answered, {} lost, {} lost in changes, {} wrong, {} changes, {} junk, pause {} ms",
            self.get(Figure::Sent),
            self.get(Figure::Answered),
            self.get(Figure::Lost),
            self.get(Figure::LostInChange),
            self.get(Figure::Wrong),
            self.get(Figure::Changes),
            self.get(Figure::Junk),
            self.longest_pause.load(SeqCst),
        )
    }

    pub(crate) fn phones(&self) -> usize {
        self.mappings.len()
    }

    /// The mapping of a phone is about to change.
    pub(crate) fn changes(&self, phone: usize) {
        self.mappings[phone].open.store(true, SeqCst);
        self.mappings[phone].changes.fetch_add(1, SeqCst);
    }

    /// The PBX has accepted requests from the mapping after this number of changes, in the phone's registration and
    /// in its call.
    pub(crate) fn settled(&self, phone: usize, changes: u32) {
        let mapping = &self.mappings[phone];
        if mapping.changes.load(SeqCst) == changes {
            mapping.open.store(false, SeqCst);
        }
    }

    fn unsettled(&self) -> usize {
        let open = self
            .mappings
            .iter()
            .filter(|mapping| mapping.open.load(SeqCst));
        open.count()
    }

    /// A request from or to a phone begins.
    pub(crate) fn begin(&self, phone: usize) -> Begun {
        let mapping = &self.mappings[phone];
        Begun {
            phone,
            changes: mapping.changes.load(SeqCst),
            open: mapping.open.load(SeqCst),
        }
    }

    /// Whether the phone's mapping has changed since then, or was changing.
    pub(crate) fn changed_since(&self, begun: &Begun) -> bool {
        let now = self.begin(begun.phone);
        begun.open || now.open || now.changes != begun.changes
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Figure::ALL
            .iter()
            .try_for_each(|(figure, name)| row(f, name, self.get(*figure)))?;
        let pause = self.longest_pause.load(SeqCst);
        row(f, "longest pause of the PBX or the phones, ms", pause)?;
        row(f, "datagrams dropped: the PBX was too slow", self.dropped())
    }
}

/// Writes a line of the table.
pub(crate) fn row(f: &mut impl fmt::Write, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<48} {value:>12}")
}

/// Returns the number under which the PBX knows a phone.
pub(crate) fn number(phone: usize) -> usize {
    10_000 + phone
}

/// Returns the address-of-record of a phone.
pub(crate) fn aor(phone: usize) -> String {
    format!("sip:{}@{}", number(phone), PBX.ip())
}

/// xorshift64: reproducible, and random enough to spread events in time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns a time between two numbers of milliseconds.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.below(high - low))
    }
}
