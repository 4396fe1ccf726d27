//! All phones, played by one thread: each has a socket of its own, behind its own router.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use anyhow::Result;
use nat_test_support::{PBX, sip::Message};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{
    network::{Site, private},
    pbx::{CREDENTIALS, FOR, RING},
    shared::{Begun, Figure, Random, Shared, Stage, aor, number},
    transactions::Unanswered,
};

const SDP: &str = "v=0\r\no=phone 1 1 IN IP4 192.168.1.10\r\ns=-\r\nc=IN IP4 192.168.1.10\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0\r\na=inactive\r\n";
/// Responses kept for requests that come again.
const REMEMBERED: usize = 16;

/// The router of that site has made new mappings, and has this address now.
pub(crate) struct Moved {
    pub(crate) site: usize,
    pub(crate) wan: Ipv4Addr,
}

struct Phone {
    index: usize,
    wan: Ipv4Addr,
    socket: UdpSocket,
    /// CSeq of its registration.
    cseq: u32,
    /// It sends credentials only once it has been asked for them, and has not been yet.
    unchallenged: bool,
    call: Option<Call>,
    /// A call that it lets ring.
    ringing: Option<Message>,
    /// Since its mapping changed, the PBX has not accepted a REGISTER yet.
    unregistered: bool,
    /// Since its mapping changed, the PBX has not accepted a request within its call yet.
    unconfirmed: bool,
    /// How many changes it has noticed.
    changes: u32,
    said: VecDeque<(String, String)>,
}

struct Call {
    id: String,
    local: String,
    /// To of the phone's requests; without tag while it dials.
    remote: String,
    cseq: u32,
    dialling: bool,
}

/// A request, or a final response to INVITE, of a phone.
struct Asked {
    begun: Begun,
    phone: usize,
    message: Message,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Register(usize),
    Dial(usize),
    HangUp(usize, String),
    /// A request, as text, is looked at.
    Handle(usize, String),
}

pub(crate) struct Phones<'s> {
    shared: &'s Shared,
    per_site: usize,
    all: Vec<Phone>,
    epoll: Epoll,
    moves: Receiver<Moved>,
    asked: Unanswered<Asked>,
    agenda: BinaryHeap<Reverse<(Instant, Job)>>,
    /// ACKs, for a 2xx that comes again.
    acks: VecDeque<(String, String)>,
    counter: u32,
    random: Random,
}

impl<'s> Phones<'s> {
    /// Phones at every site, `per_site` of them.
    pub(crate) fn new(
        shared: &'s Shared,
        sites: &[Site],
        per_site: usize,
        moves: Receiver<Moved>,
    ) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut all = Vec::new();
        for site in sites {
            let sockets = site.phones.enter(|| {
                let bound = (0..per_site).map(|index| UdpSocket::bind(private(index)));
                bound.collect::<std::io::Result<Vec<_>>>()
            })??;
            for (index, socket) in sockets.into_iter().enumerate() {
                socket.set_nonblocking(true)?;
                epoll.add(
                    &socket,
                    EpollEvent::new(EpollFlags::EPOLLIN, all.len() as u64),
                )?;
                all.push(Phone {
                    index,
                    wan: site.wan(),
                    socket,
                    cseq: 0,
                    unchallenged: index % 3 != 0,
                    call: None,
                    ringing: None,
                    unregistered: false,
                    unconfirmed: false,
                    changes: 0,
                    said: VecDeque::new(),
                });
            }
        }
        let mut phones = Self {
            shared,
            per_site,
            all,
            epoll,
            moves,
            asked: Unanswered::new(),
            agenda: BinaryHeap::new(),
            acks: VecDeque::new(),
            counter: 0,
            random: Random::new(shared.run ^ 7),
        };
        for phone in 0..phones.all.len() {
            phones.plan(0, 3_000, Job::Register(phone));
            phones.plan(4_000, 60_000, Job::Dial(phone));
        }
        Ok(phones)
    }

    /// Plays them until it is over.
    pub(crate) fn play(mut self) -> Result<()> {
        let mut events = vec![EpollEvent::empty(); 256];
        let mut turn = Instant::now();
        while self.shared.stage() != Stage::Over {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::from(10_u8)) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..ready] {
                self.receive(event.data() as usize)?;
            }
            if turn.elapsed() >= Duration::from_millis(10) {
                self.shared.paused(turn.elapsed());
                turn = Instant::now();
                self.turn();
            }
        }
        Ok(())
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
        while let Ok(moved) = self.moves.try_recv() {
            for phone in moved.site * self.per_site..(moved.site + 1) * self.per_site {
                self.moved(phone, moved.wan);
            }
        }
        let all = &self.all;
        let lost = self.asked.turn(|text, to, asked| {
            let _ = all[asked.phone].socket.send_to(text, to);
        });
        for asked in lost {
            let changed = self.shared.changed_since(&asked.begun);
            let why = if changed {
                ", in a change of mapping"
            } else {
                ""
            };
            eprintln!(
                "phone {} got no answer{why}: {}",
                asked.phone, asked.message
            );
            let figure = match (asked.message.is_request(), changed) {
                (true, true) => Figure::PhonesLostInChange,
                (true, false) => Figure::PhonesLost,
                // Its ACK, a request of the PBX, has not come.
                (false, true) => Figure::LostInChange,
                (false, false) => Figure::Lost,
            };
            self.shared.count(figure);
            let phone = &mut self.all[asked.phone];
            if ["INVITE", "BYE"].contains(&asked.message.method()) {
                phone.call = None;
                phone.unconfirmed = false;
            }
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
        let load = self.shared.stage() == Stage::Load;
        match job {
            Job::Register(phone) => {
                // As often as keeps the mapping at the router, too.
                self.plan(15_000, 25_000, Job::Register(phone));
                self.register(phone);
            }
            Job::Dial(phone) if load => {
                self.plan(30_000, 90_000, Job::Dial(phone));
                if self.all[phone].call.is_none() {
                    self.dial(phone);
                }
            }
            Job::HangUp(phone, call_id) if load => {
                if self.all[phone].in_call(&call_id) {
                    self.within(phone, "BYE");
                }
            }
            Job::Dial(_) | Job::HangUp(..) => {}
            Job::Handle(phone, text) => {
                if let Some(request) = Message::parse(text.as_bytes()) {
                    self.handle(phone, &request);
                }
            }
        }
    }

    /// The mapping has changed: what was asked from the old one is not answered to the new one. The phone
    /// notices, and tells the PBX where it is, as one does whose address has changed.
    fn moved(&mut self, phone: usize, wan: Ipv4Addr) {
        let shared = self.shared;
        self.asked.forget(|asked| {
            let gone = asked.phone == phone && asked.message.is_request();
            if gone {
                shared.count(Figure::PhonesLostInChange);
            }
            gone
        });
        let this = &mut self.all[phone];
        this.wan = wan;
        this.changes = shared.begin(phone).changes;
        this.unregistered = true;
        if this.call.as_ref().is_some_and(|call| call.dialling) {
            this.call = None;
        }
        let in_call = this.call.is_some();
        this.unconfirmed = in_call;
        self.register(phone);
        if in_call {
            self.within(phone, "INVITE");
        }
    }

    fn register(&mut self, phone: usize) {
        let this = &mut self.all[phone];
        this.cseq += 1;
        let credentials = !this.unchallenged;
        let cseq = this.cseq;
        let registrar = format!("sip:{}", PBX.ip());
        let (from, to) = (
            format!("<{}>;tag=reg", aor(phone)),
            format!("<{}>", aor(phone)),
        );
        let call_id = format!("reg-{}-{phone}", self.shared.run);
        let message = self.compose(phone, "REGISTER", &registrar, &from, &to, &call_id, cseq);
        let message = if credentials {
            message.with("Authorization", CREDENTIALS)
        } else {
            message
        };
        self.ask(phone, message.with("Expires", "60"));
    }

    fn dial(&mut self, phone: usize) {
        let number = self.next();
        let id = format!("call-{}-{number}@192.168.1.10", self.shared.run);
        let call = Call {
            id: id.clone(),
            local: format!("<{}>;tag=t{number}", aor(phone)),
            remote: format!("<sip:echo@{}>", PBX.ip()),
            cseq: 0,
            dialling: true,
        };
        self.all[phone].call = Some(call);
        self.within(phone, "INVITE");
        self.plan(15_000, 60_000, Job::HangUp(phone, id));
    }

    /// A request within the phone's call, or the one that begins it.
    fn within(&mut self, phone: usize, method: &str) {
        let Some(call) = &mut self.all[phone].call else {
            return;
        };
        call.cseq += 1;
        let (local, remote, id, cseq) = (
            call.local.clone(),
            call.remote.clone(),
            call.id.clone(),
            call.cseq,
        );
        let target = format!("sip:pbx@{PBX}");
        let message = self.compose(phone, method, &target, &local, &remote, &id, cseq);
        let message = message.with("Authorization", CREDENTIALS);
        self.ask(
            phone,
            if method == "INVITE" {
                message.with_sdp(SDP)
            } else {
                message
            },
        );
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
        let number = self.next();
        let this = &self.all[phone];
        Message::new(format!("{method} {target} SIP/2.0"))
            .with(
                "Via",
                format!(
                    "SIP/2.0/UDP {};branch={}{number}",
                    this.advertised(),
                    self.branch(phone)
                ),
            )
            .with("Max-Forwards", "70")
            .with("From", from)
            .with("To", to)
            .with("Call-ID", call_id)
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", this.contact(phone))
    }

    /// How the branches of that phone begin.
    fn branch(&self, phone: usize) -> String {
        format!("z9hG4bK-{}-phone{phone}-", self.shared.run)
    }

    fn ask(&mut self, phone: usize, message: Message) {
        self.shared.count(Figure::PhonesAsked);
        self.send_until_answered(phone, &key(&message), message.clone());
    }

    fn send_until_answered(&mut self, phone: usize, key: &str, message: Message) {
        let text = message.to_string().into_bytes();
        self.all[phone].send(&text);
        let begun = self.shared.begin(phone);
        let asked = Asked {
            begun,
            phone,
            message,
        };
        self.asked.sent(key, text, PBX, asked);
    }

    fn receive(&mut self, phone: usize) -> Result<()> {
        let mut buffer = [0; 65536];
        loop {
            match self.all[phone].socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(_))) => {
                    if let Some(message) = Message::parse(&buffer[..length]) {
                        if message.is_request() {
                            self.request(phone, &message);
                        } else {
                            self.response(phone, &message);
                        }
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn request(&mut self, phone: usize, request: &Message) {
        let right = request.field(FOR).and_then(|text| text.parse().ok()) == Some(phone);
        if !right {
            eprintln!("phone {phone} got: {request}");
            return self.shared.count(Figure::Wrong);
        }
        self.shared.count(Figure::Right);
        if request.method() == "ACK" {
            self.asked.answered(&acknowledged_by(phone, request));
        } else if request.is_in_dialog() && self.random.below(3) == 0 {
            // Phones take their time. Much may happen meanwhile, a change of mapping for one.
            self.plan(50, 800, Job::Handle(phone, request.to_string()));
        } else {
            self.handle(phone, request);
        }
    }

    fn handle(&mut self, phone: usize, request: &Message) {
        let this = &mut self.all[phone];
        let key = key(request);
        if let Some((_, text)) = this.said.iter().find(|(of, _)| *of == key) {
            return this.send(text.as_bytes());
        }
        let ours = this.in_call(request.call_id());
        let ok = Message::response(request, "200 OK");
        let gone = Message::response(request, "481 Call/Transaction Does Not Exist");
        match request.method() {
            "INVITE" if !request.is_in_dialog() => self.invited(phone, request),
            "INVITE" if ours => self.accept(phone, ok),
            "CANCEL" => {
                let invite = this.ringing.take();
                let cancelled = invite.filter(|invite| invite.branch() == request.branch());
                this.say(&key, &if cancelled.is_some() { ok } else { gone });
                if let Some(invite) = cancelled {
                    let mut terminated = Message::response(&invite, "487 Request Terminated");
                    tag(&mut terminated, phone);
                    self.decide(phone, terminated);
                }
            }
            "BYE" if ours => {
                this.call = None;
                this.unconfirmed = false;
                this.say(&key, &ok);
                self.settle(phone);
            }
            _ if request.is_in_dialog() && !ours => {
                if request.method() == "INVITE" {
                    self.decide(phone, gone);
                } else {
                    this.say(&key, &gone);
                }
            }
            "UPDATE" => {
                let contact = this.contact(phone);
                this.say(&key, &ok.with("Contact", contact));
            }
            _ => {
                let mut ok = ok;
                tag(&mut ok, phone);
                this.say(&key, &ok);
            }
        }
    }

    /// Somebody calls.
    fn invited(&mut self, phone: usize, invite: &Message) {
        let number = self.next();
        let this = &mut self.all[phone];
        let rings_only = invite.field(RING).is_some();
        if this.call.is_some() || this.ringing.is_some() {
            let mut busy = Message::response(invite, "486 Busy Here");
            tag(&mut busy, phone);
            return self.decide(phone, busy);
        }
        let mut ringing = Message::response(invite, "180 Ringing");
        let tag = if rings_only { phone } else { number as usize };
        self::tag(&mut ringing, tag);
        let contact = this.contact(phone);
        this.say(&key(invite), &ringing.with("Contact", contact));
        if rings_only {
            this.ringing = Some(invite.clone());
            return;
        }
        let mut ok = Message::response(invite, "200 OK");
        self::tag(&mut ok, tag);
        let field = |name| ok.field(name).unwrap_or_default().to_owned();
        let id = invite.call_id().to_owned();
        this.call = Some(Call {
            id: id.clone(),
            local: field("To"),
            remote: field("From"),
            cseq: 0,
            dialling: false,
        });
        self.accept(phone, ok);
        self.plan(15_000, 60_000, Job::HangUp(phone, id));
    }

    /// A 2xx to INVITE.
    fn accept(&mut self, phone: usize, ok: Message) {
        let contact = self.all[phone].contact(phone);
        self.decide(phone, ok.with("Contact", contact).with_sdp(SDP));
    }

    /// A final response to INVITE, sent until its ACK comes.
    fn decide(&mut self, phone: usize, response: Message) {
        self.all[phone].remember(&key(&response), &response);
        let until = acknowledged_by(phone, &response);
        self.send_until_answered(phone, &until, response);
    }

    fn response(&mut self, phone: usize, response: &Message) {
        if !response.branch().contains("-phone") {
            return;
        }
        if !response.branch().starts_with(&self.branch(phone)) {
            // What is left of the run before is nobody's fault.
            if response.branch().contains(&self.shared.run.to_string()) {
                eprintln!("phone {phone} got: {response}");
                self.shared.count(Figure::WrongResponses);
            }
            return;
        }
        let key = key(response);
        let status = response.status().unwrap_or_default();
        if status < 200 {
            self.asked.rings(&key);
            return;
        }
        let Some(Asked { message, .. }) = self.asked.answered(&key) else {
            if let Some((_, ack)) = self.acks.iter().find(|(of, _)| *of == key) {
                self.all[phone].send(ack.as_bytes());
            }
            return;
        };
        self.shared.count(Figure::PhonesAnswered);
        match message.method() {
            "REGISTER" if status == 401 => {
                self.all[phone].unchallenged = false;
                self.shared.count(Figure::Challenged);
                self.register(phone);
            }
            "REGISTER" => self.all[phone].unregistered = false,
            "INVITE" => self.answered(phone, &message, response, key),
            "BYE" => {
                let this = &mut self.all[phone];
                if this.in_call(message.call_id()) {
                    this.call = None;
                    this.unconfirmed = false;
                }
            }
            _ => {}
        }
        self.settle(phone);
    }

    /// The final response to the phone's INVITE.
    fn answered(&mut self, phone: usize, invite: &Message, response: &Message, key: String) {
        let remote = response.field("To").unwrap_or_default().to_owned();
        let local = response.field("From").unwrap_or_default().to_owned();
        let accepted = response.status() < Some(300);
        let cseq = invite.cseq().0;
        let target = format!("sip:pbx@{PBX}");
        let id = invite.call_id();
        let mut ack = self.compose(phone, "ACK", &target, &local, &remote, id, cseq);
        if !accepted && let Some(via) = ack.field_mut("Via") {
            invite.field("Via").unwrap_or_default().clone_into(via);
        }
        let ack = ack.to_string();
        let this = &mut self.all[phone];
        this.send(ack.as_bytes());
        if this.in_call(id) {
            this.unconfirmed = false;
            if !accepted {
                this.call = None;
            } else if let Some(call) = &mut this.call {
                call.remote = remote;
                call.dialling = false;
            }
        }
        self.acks.push_back((key, ack));
        // The newest are enough: a 2xx comes again within 32 s.
        if self.acks.len() > 4 * self.all.len().max(64) {
            self.acks.pop_front();
        }
    }

    /// Whether the PBX knows by now where the phone is.
    fn settle(&self, phone: usize) {
        let this = &self.all[phone];
        if !this.unregistered && !this.unconfirmed {
            self.shared.settled(phone, this.changes);
        }
    }
}

impl Phone {
    /// What it, or the ALG of its router, says that its address is: one's own, or the router's without port.
    fn advertised(&self) -> String {
        match self.index % 4 {
            0 => private(self.index).to_string(),
            3 => private(0).to_string(),
            _ => self.wan.to_string(),
        }
    }

    /// Every second phone has a user part that it shares: with its site, or with every site.
    fn contact(&self, phone: usize) -> String {
        let user = match self.index % 4 {
            0 | 1 => number(phone).to_string(),
            _ => "phone".into(),
        };
        format!("<sip:{user}@{}>", self.advertised())
    }

    fn in_call(&self, call_id: &str) -> bool {
        self.call.as_ref().is_some_and(|call| call.id == call_id)
    }

    fn send(&self, text: &[u8]) {
        // A router that begins anew may say "unreachable"; the timers decide.
        let _ = self.socket.send_to(text, PBX);
    }

    fn say(&mut self, key: &str, response: &Message) {
        self.remember(key, response);
        self.send(response.to_string().as_bytes());
    }

    fn remember(&mut self, key: &str, response: &Message) {
        self.said.retain(|(of, _)| of != key);
        self.said.push_back((key.to_owned(), response.to_string()));
        if self.said.len() > REMEMBERED {
            self.said.pop_front();
        }
    }
}

/// What names a transaction here.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

/// What names the ACK to a final response to INVITE.
fn acknowledged_by(phone: usize, message: &Message) -> String {
    format!("ack {phone} {} {}", message.call_id(), message.cseq().0)
}

/// Adds a To-tag, unless there is one.
fn tag(response: &mut Message, tag: usize) {
    if response.tag("To").is_none()
        && let Some(to) = response.field_mut("To")
    {
        to.push_str(&format!(";tag=phone{tag}"));
    }
}
