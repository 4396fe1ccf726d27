//! All phones, played by one thread: each has a socket of its own, behind its own router.

mod client;
mod phone;
mod server;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use anyhow::Result;
use nat_test_support::sip::Message;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use phone::{Call, Phone};

use crate::{
    network::{Site, private},
    shared::{Begun, Figure, Random, Shared, Stage},
    transactions::Unanswered,
};

/// A router has made new mappings, and has this address now.
pub(crate) struct Moved {
    pub(crate) site: usize,
    pub(crate) wan: Ipv4Addr,
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
    /// Answers a request, given as text.
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
    /// ACKs for a 2xx that comes again.
    acks: VecDeque<(String, String)>,
    counter: u32,
    random: Random,
}

impl<'s> Phones<'s> {
    /// Makes `per_site` phones at every site.
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

    /// Runs all phones until the end of the run.
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
            let call_id = asked.message.call_id();
            match (asked.message.is_request(), changed) {
                (true, true) => self.shared.count(Figure::PhonesLostInChange),
                (true, false) => self.shared.lose(Figure::PhonesLost, call_id),
                // The ACK, a request of the PBX, did not arrive.
                (false, true) => self.shared.count(Figure::LostInChange),
                (false, false) => self.shared.lose(Figure::Lost, call_id),
            }
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
                // Often enough to keep the router's mapping, too.
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

    /// The mapping has changed: answers to requests from the old mapping do not arrive. The phone notices, and tells
    /// the PBX its new address.
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
}

/// Key of a transaction.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

/// Key of the ACK to a final response to INVITE.
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
