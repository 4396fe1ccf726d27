//! The PBX: a registrar and user agent that follows RFC 3261 strictly and knows neither NAT nor `rport`.

mod client;
mod inbox;
mod server;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    net::{SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;
use nat_test_support::{PBX, netns::Netns, sip::Message};

use self::inbox::Inbox;
use crate::{
    shared::{Begun, Figure, Known, Random, Shared, Stage},
    transactions::{GIVE_UP, Unanswered},
};

/// User in To of requests that the PBX does not answer.
pub(crate) const NOBODY: &str = "nobody";

/// Credentials that the PBX accepts.
pub(crate) const CREDENTIALS: &str = "Digest username=\"phone\", response=\"right\"";

/// Header with the phone for which a request of the PBX is.
pub(crate) const FOR: &str = "X-Phone";

/// Header by which the PBX asks a phone to ring and not to answer.
pub(crate) const RING: &str = "X-Ring";

/// Granted expiry of a registration, in seconds.
const GRANTED: u32 = 60;

struct Registered {
    contact: String,
    source: SocketAddrV4,
}

struct Call {
    begun: Begun,
    phone: usize,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    confirmed: bool,
    ends: Instant,
}

/// A request of the PBX that is not answered yet.
struct Request {
    begun: Begun,
    message: Message,
    cancels: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// A request outside of a call.
    Ask(usize),
    Call(usize),
    /// The next request within a call.
    Next(String),
    /// Answer to the call of a phone.
    Answer(String),
}

pub(crate) struct Pbx<'s> {
    shared: &'s Shared,
    socket: UdpSocket,
    registered: Vec<Option<Registered>>,
    calls: HashMap<String, Call>,
    requests: Unanswered<Request>,
    /// 2xx to INVITE, until their ACK comes, with their Call-IDs.
    accepted: Unanswered<(String, Begun)>,
    /// INVITEs of phones that ring.
    ringing: HashMap<String, Message>,
    /// Responses and ACKs to repeat, by transaction.
    said: HashMap<String, (Vec<u8>, SocketAddrV4, Instant)>,
    agenda: BinaryHeap<Reverse<(Instant, Job)>>,
    counter: u32,
    random: Random,
}

impl<'s> Pbx<'s> {
    pub(crate) fn new(shared: &'s Shared, netns: &Netns) -> Result<Self> {
        let socket = netns.udp(PBX)?;
        Ok(Self {
            shared,
            socket,
            registered: (0..shared.phones()).map(|_| None).collect(),
            calls: HashMap::new(),
            requests: Unanswered::new(),
            accepted: Unanswered::new(),
            ringing: HashMap::new(),
            said: HashMap::new(),
            agenda: BinaryHeap::new(),
            counter: 0,
            random: Random::new(shared.run),
        })
    }

    /// Serves until it is over.
    pub(crate) fn serve(mut self) -> Result<()> {
        let mut inbox = Inbox::new(self.socket.try_clone()?)?;
        let mut turn = Instant::now();
        let mut swept = Instant::now();
        let mut stage = Stage::Load;
        while stage != Stage::Over {
            inbox.read(|text, source| self.receive(text, source))?;
            self.shared.set_queue(inbox.waited, inbox.dropped);
            if turn.elapsed() < Duration::from_millis(10) {
                continue;
            }
            self.shared.paused(turn.elapsed());
            turn = Instant::now();
            self.turn();
            let up = self.calls.values().filter(|call| call.confirmed);
            self.shared.set_up(up.map(|call| call.phone));
            if swept.elapsed() > Duration::from_secs(5) {
                swept = turn;
                self.said.retain(|_, (_, _, at)| at.elapsed() < GIVE_UP);
            }
            let now = self.shared.stage();
            if now != stage {
                stage = now;
                if stage == Stage::Close {
                    self.hang_up();
                }
            }
            let idle = self.requests.is_empty()
                && self.accepted.is_empty()
                && self.calls.values().all(|call| call.confirmed);
            if idle && stage != Stage::Load {
                self.shared.set_idle(stage, || self.known());
            }
        }
        Ok(())
    }

    fn receive(&mut self, text: &[u8], source: SocketAddrV4) {
        let Some(message) = Message::parse(text) else {
            return;
        };
        if message.is_request() {
            self.request(message, source);
        } else {
            self.response(&message);
        }
    }

    fn known(&self) -> Vec<Known> {
        let calling: HashSet<_> = self.calls.values().map(|call| call.phone).collect();
        let all = self.registered.iter().enumerate();
        all.filter_map(|(phone, registered)| {
            Some(Known {
                phone,
                source: registered.as_ref()?.source,
                in_call: calling.contains(&phone),
            })
        })
        .collect()
    }

    fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn plan(&mut self, low: u64, high: u64, job: Job) {
        let at = Instant::now() + self.random.between(low, high);
        self.agenda.push(Reverse((at, job)));
    }

    fn turn(&mut self) {
        let (socket, shared) = (&self.socket, self.shared);
        let lost = self.requests.turn(|text, to, _| {
            shared.count(Figure::Resent);
            let _ = socket.send_to(text, to);
        });
        for request in lost {
            let why = if shared.changed_since(&request.begun) {
                shared.count(Figure::LostInChange);
                ", in a change of mapping"
            } else {
                shared.lose(Figure::Lost, request.message.call_id());
                ""
            };
            eprintln!("the PBX got no answer{why}: {}", request.message);
            if request.message.is_in_dialog() {
                self.calls.remove(request.message.call_id());
            }
        }
        let lost = self.accepted.turn(|text, to, _| {
            let _ = socket.send_to(text, to);
        });
        for (call_id, begun) in lost {
            // The phone did not get the 2xx.
            if shared.changed_since(&begun) {
                shared.count(Figure::PhonesLostInChange);
            } else {
                shared.lose(Figure::PhonesLost, &call_id);
                eprintln!("lost: a 2xx to a call of phone {}", begun.phone);
            }
            self.calls
                .retain(|_, call| call.confirmed || call.phone != begun.phone);
        }
        let now = Instant::now();
        while self
            .agenda
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= now)
        {
            if let Some(Reverse((_, job))) = self.agenda.pop() {
                self.perform(job);
            }
        }
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Answer(call_id) => self.answer(&call_id),
            _ if self.shared.stage() != Stage::Load => {}
            Job::Ask(phone) => {
                let method = ["OPTIONS", "MESSAGE", "NOTIFY"][self.random.below(3) as usize];
                self.begin(phone, method, false);
                self.plan(10_000, 20_000, Job::Ask(phone));
            }
            Job::Call(phone) => {
                if self.calls.values().all(|call| call.phone != phone) {
                    let cancels = self.random.below(5) == 0;
                    self.begin(phone, "INVITE", cancels);
                }
                self.plan(30_000, 90_000, Job::Call(phone));
            }
            Job::Next(call_id) => {
                let Some(call) = self.calls.get(&call_id) else {
                    return;
                };
                if call.ends <= Instant::now() {
                    return self.within(&call_id, "BYE");
                }
                let methods = ["INVITE", "INVITE", "UPDATE", "INFO", "OPTIONS", "MESSAGE"];
                let method = methods[self.random.below(methods.len() as u64) as usize];
                self.within(&call_id, method);
                self.plan(2_000, 6_000, Job::Next(call_id));
            }
        }
    }

    /// Ends all calls.
    fn hang_up(&mut self) {
        let calls: Vec<_> = self.calls.keys().cloned().collect();
        for call_id in calls {
            self.within(&call_id, "BYE");
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a call has that many parts")]
    fn call(
        &mut self,
        call_id: String,
        phone: usize,
        local: String,
        remote: String,
        target: String,
        cseq: u32,
        confirmed: bool,
    ) {
        let call = Call {
            begun: self.shared.begin(phone),
            phone,
            local,
            remote,
            target,
            cseq,
            confirmed,
            ends: Instant::now() + self.random.between(10_000, 40_000),
        };
        self.calls.insert(call_id.clone(), call);
        if confirmed {
            self.plan(500, 4_000, Job::Next(call_id));
        }
    }
}

/// Key of a transaction.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

fn phone(uri: &str) -> Option<usize> {
    let user = uri.strip_prefix("sip:")?.split('@').next()?;
    user.parse::<usize>()
        .ok()?
        .checked_sub(crate::shared::number(0))
}

/// Returns a CANCEL or ACK of the transaction of `invite`.
fn of_same_transaction(invite: &Message, method: &str, to: &str) -> Message {
    let field = |name| invite.field(name).unwrap_or_default().to_owned();
    Message::new(format!("{method} {} SIP/2.0", invite.request_uri()))
        .with("Via", field("Via"))
        .with("Max-Forwards", "70")
        .with("From", field("From"))
        .with("To", to)
        .with("Call-ID", invite.call_id())
        .with("CSeq", format!("{} {method}", invite.cseq().0))
}
