//! Retransmission of unanswered messages by timer (RFC 3261 17.1).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// RFC 3261 timer T1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 timer T2.
const T2: Duration = Duration::from_secs(4);
/// Timers B, F and H: 64 * T1.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(32);
/// Timer C, for a call that rings.
const RINGING: Duration = Duration::from_secs(180);

/// Messages that are sent again until they are answered, each with a note of its sender.
pub(crate) struct Unanswered<T> {
    all: HashMap<String, Sent<T>>,
    /// Times of the next transmissions.
    next: BinaryHeap<Reverse<(Instant, String)>>,
}

struct Sent<T> {
    text: Vec<u8>,
    to: SocketAddrV4,
    next: Instant,
    interval: Duration,
    until: Instant,
    rings: bool,
    note: T,
}

impl<T> Unanswered<T> {
    pub(crate) fn new() -> Self {
        Self {
            all: HashMap::new(),
            next: BinaryHeap::new(),
        }
    }

    /// Keeps a message that has been sent. `key` names the answer.
    pub(crate) fn sent(&mut self, key: &str, text: Vec<u8>, to: SocketAddrV4, note: T) {
        let now = Instant::now();
        let sent = Sent {
            text,
            to,
            next: now + T1,
            interval: T1,
            until: now + GIVE_UP,
            rings: false,
            note,
        };
        self.next.push(Reverse((sent.next, key.to_owned())));
        self.all.insert(key.to_owned(), sent);
    }

    /// A provisional response ends retransmissions, and the message still waits for its final response.
    pub(crate) fn rings(&mut self, key: &str) -> Option<&mut T> {
        let sent = self.all.get_mut(key)?;
        if !sent.rings {
            sent.rings = true;
            sent.until = Instant::now() + RINGING;
        }
        Some(&mut sent.note)
    }

    /// The final answer. Returns the sender's note.
    pub(crate) fn answered(&mut self, key: &str) -> Option<T> {
        self.all.remove(key).map(|sent| sent.note)
    }

    /// Gives up the messages for which `which` returns true.
    pub(crate) fn forget(&mut self, which: impl Fn(&T) -> bool) {
        self.all.retain(|_, sent| !which(&sent.note));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sends the messages that are due. Returns the notes of messages that were never answered.
    pub(crate) fn turn(&mut self, send: impl Fn(&[u8], SocketAddrV4, &T)) -> Vec<T> {
        let now = Instant::now();
        let mut lost = Vec::new();
        while let Some(Reverse((at, _))) = self.next.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((at, key))) = self.next.pop() else {
                break;
            };
            let Some(sent) = self.all.get_mut(&key).filter(|sent| sent.next == at) else {
                continue;
            };
            if sent.until <= now {
                lost.extend(self.answered(&key));
                continue;
            }
            if !sent.rings {
                send(&sent.text, sent.to, &sent.note);
            }
            sent.interval = T2.min(sent.interval * 2);
            sent.next = now + sent.interval;
            self.next.push(Reverse((sent.next, key)));
        }
        lost
    }
}
