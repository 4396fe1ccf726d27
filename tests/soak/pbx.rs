//! The PBX: registrar and user agent, which takes RFC 3261 at its word and knows neither NAT nor `rport`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;
use nat_test_support::{
    PBX,
    netns::Netns,
    sip::{self, Message},
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    shared::{Begun, Figure, Known, Random, Shared, Stage, aor},
    transactions::{GIVE_UP, Unanswered},
};

/// Named in To by requests that the PBX does not answer at all.
pub(crate) const NOBODY: &str = "nobody";
/// What the PBX takes for proof of who somebody is.
pub(crate) const CREDENTIALS: &str = "Digest username=\"phone\", response=\"right\"";
/// The header by which a request of the PBX says which phone it is for.
pub(crate) const FOR: &str = "X-Phone";
/// The header by which the PBX asks a phone to ring and not to answer.
pub(crate) const RING: &str = "X-Ring";
/// What a registration is granted, in seconds.
const GRANTED: u32 = 60;
const SDP: &str = "v=0\r\no=pbx 1 1 IN IP4 203.0.113.10\r\ns=-\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0\r\na=inactive\r\n";
const BUFFER: usize = 32 << 20;

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

/// What the PBX waits for an answer to.
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
    /// The call of a phone is answered.
    Answer(String),
}

pub(crate) struct Pbx<'s> {
    shared: &'s Shared,
    socket: UdpSocket,
    registered: Vec<Option<Registered>>,
    calls: HashMap<String, Call>,
    requests: Unanswered<Request>,
    /// 2xx to INVITE, until their ACK comes.
    accepted: Unanswered<Begun>,
    /// INVITEs of phones that ring.
    ringing: HashMap<String, Message>,
    /// What to say to a request or response that comes again, by transaction.
    said: HashMap<String, (Vec<u8>, SocketAddrV4, Instant)>,
    agenda: BinaryHeap<Reverse<(Instant, Job)>>,
    counter: u32,
    random: Random,
}

impl<'s> Pbx<'s> {
    pub(crate) fn new(shared: &'s Shared, netns: &Netns) -> Result<Self> {
        let socket = netns.udp(PBX)?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        // Nothing is to be lost but in the network.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
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
        let mut buffer = [0; 65536];
        let mut turn = Instant::now();
        let mut swept = Instant::now();
        let mut stage = Stage::Load;
        while stage != Stage::Over {
            if let Ok((length, SocketAddr::V4(source))) = self.socket.recv_from(&mut buffer)
                && let Some(message) = Message::parse(&buffer[..length])
            {
                if message.is_request() {
                    self.request(message, source);
                } else {
                    self.response(&message);
                }
            }
            if turn.elapsed() < Duration::from_millis(10) {
                continue;
            }
            self.shared.paused(turn.elapsed());
            turn = Instant::now();
            self.turn();
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
            let changed = shared.changed_since(&request.begun);
            let (figure, why) = if changed {
                (Figure::LostInChange, ", in a change of mapping")
            } else {
                (Figure::Lost, "")
            };
            shared.count(figure);
            eprintln!("the PBX got no answer{why}: {}", request.message);
            if request.message.is_in_dialog() {
                self.calls.remove(request.message.call_id());
            }
        }
        let lost = self.accepted.turn(|text, to, _| {
            let _ = socket.send_to(text, to);
        });
        for begun in lost {
            // The phone has not got the 2xx.
            shared.count(if shared.changed_since(&begun) {
                Figure::PhonesLostInChange
            } else {
                eprintln!("lost: a 2xx to a call of phone {}", begun.phone);
                Figure::PhonesLost
            });
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

    /// A request outside of any dialog, to a phone's contact.
    fn begin(&mut self, phone: usize, method: &str, cancels: bool) {
        let Some(registered) = &self.registered[phone] else {
            return;
        };
        let target = registered.contact.clone();
        let number = self.next();
        let run = self.shared.run;
        let mut message = self.compose(
            phone,
            method,
            &target,
            &format!("<sip:pbx@{}>;tag=pbx{number}", PBX.ip()),
            &format!("<{}>", aor(phone)),
            &format!("pbx-{run}-{number}@{}", PBX.ip()),
            1,
        );
        if cancels {
            message.push(RING, "only");
        }
        self.ask(phone, message, cancels);
    }

    /// A request within a call.
    fn within(&mut self, call_id: &str, method: &str) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        call.cseq += 1;
        let (phone, cseq) = (call.phone, call.cseq);
        let (target, local, remote) =
            (call.target.clone(), call.local.clone(), call.remote.clone());
        let message = self.compose(phone, method, &target, &local, &remote, call_id, cseq);
        self.ask(phone, message, false);
    }

    #[expect(clippy::too_many_arguments, reason = "a request has that many parts")]
    fn compose(
        &mut self,
        phone: usize,
        method: &str,
        target: &str,
        from: &str,
        to: &str,
        call_id: &str,
        cseq: u32,
    ) -> Message {
        let branch = format!("z9hG4bK-pbx-{}-{}", self.shared.run, self.next());
        let message = Message::new(format!("{method} {target} SIP/2.0"))
            .with("Via", format!("SIP/2.0/UDP {PBX};branch={branch}"))
            .with("Max-Forwards", "70")
            .with("From", from)
            .with("To", to)
            .with("Call-ID", call_id)
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<sip:pbx@{PBX}>"))
            .with(FOR, phone.to_string());
        match method {
            "INVITE" => message.with_sdp(SDP),
            "NOTIFY" => message
                .with("Event", "message-summary")
                .with("Subscription-State", "active"),
            _ => message,
        }
    }

    fn ask(&mut self, phone: usize, message: Message, cancels: bool) {
        let Some(to) = sip::uri_host_port(message.request_uri()) else {
            return;
        };
        let text = message.to_string().into_bytes();
        let _ = self.socket.send_to(&text, to.address());
        self.shared.count(Figure::Sent);
        let begun = self.shared.begin(phone);
        let request = Request {
            begun,
            message,
            cancels,
        };
        let key = key(&request.message);
        self.requests.sent(&key, text, to.address(), request);
    }

    fn response(&mut self, response: &Message) {
        let key = key(response);
        let status = response.status().unwrap_or_default();
        if status < 200 {
            let cancel = self.requests.rings(&key).and_then(|request| {
                let cancels = std::mem::take(&mut request.cancels);
                cancels.then(|| (request.begun.phone, request.message.clone()))
            });
            if let Some((phone, invite)) = cancel {
                let to = invite.field("To").unwrap_or_default().to_owned();
                let cancel = of_same_transaction(&invite, "CANCEL", &to);
                self.ask(phone, cancel.with(FOR, phone.to_string()), false);
            }
            return;
        }
        let Some(request) = self.requests.answered(&key) else {
            // A final response to INVITE that comes again has missed its ACK.
            if let Some((ack, to, _)) = self.said.get(&key) {
                let _ = self.socket.send_to(ack, *to);
            }
            return;
        };
        self.shared.count(Figure::Answered);
        let (phone, sent) = (request.begun.phone, &request.message);
        if sent.method() == "INVITE" {
            self.invited(phone, sent, response, key);
        }
        let refused = matches!(status, 408 | 481);
        if sent.is_in_dialog() && (refused || sent.method() == "BYE") {
            self.calls.remove(sent.call_id());
        } else if sent.is_in_dialog() && ["INVITE", "UPDATE"].contains(&sent.method()) {
            self.shared.count(Figure::Reinvites);
        }
    }

    /// The final response to an INVITE: it is acknowledged, and a call if it is a 2xx.
    fn invited(&mut self, phone: usize, invite: &Message, response: &Message, key: String) {
        let field = |message: &Message, name| message.field(name).unwrap_or_default().to_owned();
        let (local, remote) = (field(response, "From"), field(response, "To"));
        if response.status() >= Some(300) {
            if response.status() == Some(487) {
                self.shared.count(Figure::Cancelled);
            }
            let ack = of_same_transaction(invite, "ACK", &remote).with(FOR, phone.to_string());
            return self.acknowledge(&ack, key);
        }
        let Some(target) = response.contact().map(str::to_owned) else {
            return;
        };
        let (cseq, call_id) = (invite.cseq().0, invite.call_id().to_owned());
        let ack = self.compose(phone, "ACK", &target, &local, &remote, &call_id, cseq);
        self.acknowledge(&ack, key);
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.target = target;
        } else if !invite.is_in_dialog() {
            self.shared.count(Figure::CallsIn);
            self.call(call_id, phone, local, remote, target, cseq, true);
        }
    }

    fn acknowledge(&mut self, ack: &Message, key: String) {
        let Some(to) = sip::uri_host_port(ack.request_uri()) else {
            return;
        };
        let text = ack.to_string().into_bytes();
        let _ = self.socket.send_to(&text, to.address());
        self.said.insert(key, (text, to.address(), Instant::now()));
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

    fn request(&mut self, mut request: Message, source: SocketAddrV4) {
        let via = request.field("Via").unwrap_or_default();
        if sip::sent_by(via).is_none_or(|sent_by| sent_by.host != *source.ip())
            && let Some(via) = request.field_mut("Via")
        {
            // RFC 3261 18.2.1.
            via.push_str(&format!(";received={}", source.ip()));
        }
        if request.method() == "ACK" {
            return self.acknowledged(&request);
        }
        if let Some((text, to, _)) = self.said.get(&key(&request)) {
            let _ = self.socket.send_to(text, *to);
            return;
        }
        if request.field("To").is_none_or(|to| to.contains(NOBODY)) {
            return;
        }
        let known = request.field("Authorization") == Some(CREDENTIALS);
        let phone = request.field("From").map(sip::uri).and_then(phone);
        let Some(phone) = phone.filter(|phone| *phone < self.registered.len()) else {
            return;
        };
        match request.method() {
            // Refusals are not remembered: a server may be stateless (RFC 3261 8.2.7).
            "REGISTER" if !known => {
                let challenge = Message::response(&request, "401 Unauthorized")
                    .with("WWW-Authenticate", "Digest realm=\"pbx\", nonce=\"1\"");
                self.respond_once(&request, &challenge);
            }
            "INVITE" if !known => {
                let refusal = Message::response(&request, "403 Forbidden");
                self.respond_once(&request, &refusal);
            }
            "REGISTER" => self.register(phone, &request, source),
            "INVITE" if !request.is_in_dialog() => self.rings(phone, request),
            method => {
                let Some(call) = self.calls.get_mut(request.call_id()) else {
                    let gone = Message::response(&request, "481 Call/Transaction Does Not Exist");
                    return self.respond(&request, &gone);
                };
                if let Some(registered) = &mut self.registered[phone] {
                    registered.source = source;
                }
                if method == "BYE" {
                    self.calls.remove(request.call_id());
                } else if let Some(contact) = request.contact() {
                    contact.clone_into(&mut call.target);
                }
                let ok = Message::response(&request, "200 OK");
                if method == "INVITE" {
                    self.accept(self.shared.begin(phone), &request, ok);
                } else {
                    self.respond(&request, &ok);
                }
            }
        }
    }

    fn register(&mut self, phone: usize, request: &Message, source: SocketAddrV4) {
        let Some(contact) = request.contact().map(str::to_owned) else {
            return;
        };
        let ok = Message::response(request, "200 OK")
            .with("Contact", format!("<{contact}>;expires={GRANTED}"));
        self.respond(request, &ok);
        self.shared.count(Figure::Registrations);
        if self.registered[phone].is_none() {
            self.plan(500, 5_000, Job::Ask(phone));
            self.plan(2_000, 40_000, Job::Call(phone));
        }
        self.registered[phone] = Some(Registered { contact, source });
    }

    fn rings(&mut self, phone: usize, invite: Message) {
        let Some(target) = invite.contact().map(str::to_owned) else {
            return;
        };
        let mut ringing = Message::response(&invite, "180 Ringing");
        let tag = self.next();
        if let Some(to) = ringing.field_mut("To") {
            to.push_str(&format!(";tag=pbx{tag}"));
        }
        let local = ringing.field("To").unwrap_or_default().to_owned();
        let remote = invite.field("From").unwrap_or_default().to_owned();
        let call_id = invite.call_id().to_owned();
        self.respond(
            &invite,
            &ringing.with("Contact", format!("<sip:pbx@{PBX}>")),
        );
        self.call(call_id.clone(), phone, local, remote, target, 0, false);
        self.ringing.insert(call_id.clone(), invite);
        self.plan(100, 2_000, Job::Answer(call_id));
    }

    /// The PBX answers a phone's call.
    fn answer(&mut self, call_id: &str) {
        let (Some(invite), Some(call)) = (self.ringing.remove(call_id), self.calls.get(call_id))
        else {
            return;
        };
        let mut ok = Message::response(&invite, "200 OK");
        if let Some(to) = ok.field_mut("To") {
            call.local.clone_into(to);
        }
        self.accept(call.begun, &invite, ok);
    }

    /// A 2xx to INVITE, sent until the ACK comes (RFC 3261 13.3.1.4).
    fn accept(&mut self, begun: Begun, invite: &Message, ok: Message) {
        let ok = ok.with("Contact", format!("<sip:pbx@{PBX}>")).with_sdp(SDP);
        self.respond(invite, &ok);
        let Some((text, to, _)) = self.said.get(&key(invite)) else {
            return;
        };
        let key = format!("{} {}", invite.call_id(), invite.cseq().0);
        self.accepted.sent(&key, text.clone(), *to, begun);
    }

    fn acknowledged(&mut self, ack: &Message) {
        let key = format!("{} {}", ack.call_id(), ack.cseq().0);
        self.accepted.answered(&key);
        if let Some(call) = self.calls.get_mut(ack.call_id())
            && !call.confirmed
        {
            call.confirmed = true;
            self.shared.count(Figure::CallsOut);
            self.plan(500, 4_000, Job::Next(ack.call_id().to_owned()));
        }
    }

    fn respond_once(&self, request: &Message, response: &Message) {
        if let Some(to) = request.response_address() {
            let _ = self.socket.send_to(response.to_string().as_bytes(), to);
        }
    }

    fn respond(&mut self, request: &Message, response: &Message) {
        let Some(to) = request.response_address() else {
            return;
        };
        let text = response.to_string().into_bytes();
        let _ = self.socket.send_to(&text, to);
        self.said.insert(key(request), (text, to, Instant::now()));
    }
}

/// What names a transaction here.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

fn phone(uri: &str) -> Option<usize> {
    let user = uri.strip_prefix("sip:")?.split('@').next()?;
    user.parse::<usize>()
        .ok()?
        .checked_sub(crate::shared::number(0))
}

/// A CANCEL of, or an ACK within, the transaction of `invite`.
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
