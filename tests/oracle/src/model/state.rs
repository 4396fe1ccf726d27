//! State of the PBX and of the terminals.

use nat_common::endpoint::Endpoint;

use super::actor::Actor;
use super::input::{Mood, TagChoice};
use super::sip::{Branch, Call, Sip, Tag, Uri};

/// Identity of a transaction of a terminal: branch, method, Call-ID, CSeq.
pub(super) type Key = (Branch, &'static str, Call, u32);

/// Transaction that a terminal opened.
pub(super) struct Server {
    pub(super) key: Key,
    /// Arrival of the request.
    pub(super) began: u64,
    /// Actor whose request came first.
    pub(super) by: Actor,
    pub(super) source: Endpoint,
    pub(super) request: Sip,
    /// Last response.
    pub(super) last: Option<Sip>,
    /// Number of responses that sipnat has seen.
    pub(super) sent: u32,
    /// The PBX has sent a final response.
    pub(super) was_final: bool,
    /// Number of repetitions that the PBX got after a response.
    pub(super) repeats: u32,
    /// Responses in a row that the terminal did not get.
    pub(super) missed: u32,
    /// Tag of the PBX in its responses.
    pub(super) tag: Tag,
    pub(super) dialog: Option<usize>,
    /// sipnat knows where the request came from, and that the PBX takes it.
    pub(super) is_known: bool,
}

impl Server {
    pub(super) fn is_final(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.status >= 200)
    }
}

/// Transaction that the PBX opened.
pub(super) struct Client {
    pub(super) request: Sip,
    /// Destination that the PBX chose.
    pub(super) to: Endpoint,
    /// Actor that the PBX means.
    pub(super) meant: Option<Actor>,
    /// Actor whose request is relayed; none if the PBX is its author.
    pub(super) origin: Option<Actor>,
    /// Transaction of the request that is relayed.
    pub(super) server: Option<usize>,
    /// Dialog of the PBX to which it belongs.
    pub(super) dialog: Option<usize>,
    /// Only its Contact URI names the terminal.
    pub(super) weak: bool,
    pub(super) transmissions: u32,
    pub(super) began: u64,
    pub(super) sent_at: u64,
    /// Last status that came.
    pub(super) status: u16,
    /// Transmissions in a row that did not arrive.
    pub(super) missed: u32,
    /// Destination and pair of addresses of the last transmission.
    pub(super) sent_to: Endpoint,
    pub(super) learned: Endpoint,
    pub(super) cancelled: bool,
    /// A transmission went to where the terminal is.
    pub(super) tried: bool,
    /// Somebody who shares the terminal's address answered, and the PBX took it.
    pub(super) taken: bool,
}

impl Client {
    pub(super) const fn is_open(&self) -> bool {
        self.status < 200 && !self.cancelled
    }
}

/// Dialog of the PBX, or one that it relays.
pub(super) struct Dialog {
    pub(super) call: Call,
    /// Party at this end, and the other: the PBX, or the other terminal.
    pub(super) local: (Uri, Tag),
    pub(super) remote: (Uri, Tag),
    /// Contact of the remote party.
    pub(super) target: Uri,
    pub(super) cseq: u32,
    /// Actor at the remote end.
    pub(super) peer: Actor,
    /// Actor at the other end, of a dialog that is relayed.
    pub(super) caller: Option<Actor>,
    pub(super) ended: bool,
    /// An attacker knows both tags, and the PBX took a request of his.
    pub(super) taken: bool,
}

/// Contact that the PBX has accepted.
#[derive(Clone, Copy)]
pub(super) struct Registered {
    pub(super) aor: Uri,
    pub(super) uri: Uri,
    pub(super) owner: Actor,
    pub(super) expires: u64,
}

/// State of the PBX.
#[derive(Default)]
pub(super) struct Pbx {
    pub(super) servers: Vec<Server>,
    pub(super) clients: Vec<Client>,
    pub(super) dialogs: Vec<Dialog>,
    pub(super) contacts: Vec<Registered>,
    pub(super) mood: Mood,
}

/// Dialog of a terminal.
#[derive(Clone, Copy)]
pub(super) struct Leg {
    pub(super) call: Call,
    pub(super) local: (Uri, Tag),
    pub(super) remote: (Uri, Tag),
    pub(super) target: Uri,
    pub(super) cseq: u32,
}

/// State of a terminal.
#[derive(Default)]
pub(super) struct Terminal {
    pub(super) mood: Mood,
    pub(super) tag: TagChoice,
    /// Changes of its mapping, or of its port.
    pub(super) changes: u16,
    pub(super) legs: Vec<Leg>,
    /// Last request, with its source and time.
    pub(super) last: Option<(Sip, Endpoint, u64)>,
    /// Last response to each request, with its source.
    pub(super) answers: Vec<(Sip, Endpoint)>,
    /// INVITE that rings, with the address at which it arrived.
    pub(super) rings: Option<(Sip, Endpoint)>,
    pub(super) register_cseq: u32,
    /// Time of a REGISTER that is not answered yet.
    pub(super) waits_since: Option<u64>,
    /// The PBX has confirmed its last REGISTER.
    pub(super) registered: bool,
}
