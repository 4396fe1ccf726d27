//! User agents whose every message is in the hands of a test, for behaviour that a real program does not show, or not
//! at that moment. They know nothing of NAT.

use std::{
    cell::Cell,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    lab::PBX,
    netns::{Netns, receive},
    sip::{Answers, Message, address},
    unique::unique,
};

/// Time within which a message arrives if it goes to the right address: shorter than RFC 3261's T1, so that an answer to
/// a second transmission tells which of the two arrived.
const MOMENT: Duration = Duration::from_millis(200);

/// A user agent that speaks SIP by UDP.
#[derive(Debug)]
pub struct Ua {
    /// Where it listens.
    socket: UdpSocket,
    /// Where it sends from, in turn; none if it does from where it listens.
    sending: Vec<UdpSocket>,
    next: Cell<usize>,
    listens_for_responses: bool,
    answers_where_it_listens: bool,
    local: SocketAddrV4,
    patience: Duration,
}

/// A message and its source.
#[derive(Debug)]
pub struct Heard {
    /// The message.
    pub message: Message,
    /// The source of its packet.
    pub source: SocketAddrV4,
}

/// A PBX under the control of a test. It routes by RFC 3261.
#[derive(Debug)]
pub struct ScriptedPbx {
    /// Its socket.
    pub ua: Ua,
    answers: Answers,
}

/// A phone under the control of a test.
#[derive(Debug)]
pub struct Terminal {
    /// Its socket.
    pub ua: Ua,
    /// The URI of its address-of-record.
    pub aor: String,
    /// The value of its Contact.
    pub contact: String,
    registration: String,
    cseq: Cell<u32>,
}

impl Ua {
    /// Binds `local` in `netns`. An expected message must come within `patience`.
    pub fn start(netns: &Netns, local: SocketAddrV4, patience: Duration) -> Result<Self> {
        Ok(Self {
            socket: netns.udp(local)?,
            sending: Vec::new(),
            next: Cell::new(0),
            listens_for_responses: false,
            answers_where_it_listens: false,
            local,
            patience,
        })
    }

    /// Sends from another address than the one on which it listens. Called several times, it sends from each in turn.
    pub fn sending_from(mut self, netns: &Netns, local: SocketAddrV4) -> Result<Self> {
        self.sending.push(netns.udp(local)?);
        Ok(self)
    }

    /// Listens for responses where it sends from, too. It ignores requests there.
    #[must_use]
    pub fn listening_for_responses(mut self) -> Self {
        self.listens_for_responses = true;
        self
    }

    /// Sends its responses from where it listens, and only its requests from elsewhere.
    #[must_use]
    pub fn answering_where_it_listens(mut self) -> Self {
        self.answers_where_it_listens = true;
        self
    }

    /// Sends a message to `to`.
    pub fn send(&self, message: &Message, to: SocketAddrV4) -> Result<()> {
        let here = self.answers_where_it_listens && !message.is_request();
        let next = self.next.get();
        let socket = match self.sending.get(next) {
            Some(socket) if !here => {
                self.next.set((next + 1) % self.sending.len());
                socket
            }
            _ => &self.socket,
        };
        socket
            .send_to(message.to_string().as_bytes(), to)
            .with_context(|| message.start.clone())?;
        Ok(())
    }

    /// Returns the next message, which must begin with `start`.
    pub fn hear(&self, start: &str) -> Result<Heard> {
        let heard = self
            .receive(self.patience)?
            .with_context(|| format!("{} heard no {start}", self.local))?;
        ensure!(
            heard.message.start.starts_with(start),
            "{} heard `{}` instead of {start}",
            self.local,
            heard.message.start
        );
        Ok(heard)
    }

    /// Fails if a message has come that was not read yet.
    pub fn heard_all(&self) -> Result<()> {
        if let Some(more) = self.receive(Duration::ZERO)? {
            bail!("{} also heard `{}`", self.local, more.message.start);
        }
        Ok(())
    }

    /// Sends a message by `send` until this socket hears one that begins with `start`, which must be at transmission
    /// `number`, counted from 1, and not before.
    pub fn hears_at(
        &self,
        start: &str,
        number: usize,
        mut send: impl FnMut() -> Result<()>,
    ) -> Result<Heard> {
        for earlier in 1..number {
            send()?;
            if let Some(heard) = self.receive(MOMENT)? {
                bail!(
                    "{} heard `{}` at transmission {earlier}, not {number}",
                    self.local,
                    heard.message.start
                );
            }
        }
        send()?;
        self.hear(start)
            .with_context(|| format!("transmission {number}"))
    }

    /// Returns its address.
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// Returns the next message; none if `limit` passes first.
    pub fn listen(&self, limit: Duration) -> Result<Option<Heard>> {
        self.receive(limit)
    }

    /// Discards what has come so far.
    pub fn forget(&self) -> Result<()> {
        while self.receive(Duration::ZERO)?.is_some() {}
        Ok(())
    }

    fn receive(&self, limit: Duration) -> Result<Option<Heard>> {
        let deadline = Instant::now() + limit;
        let mut sockets = vec![&self.socket];
        if self.listens_for_responses {
            sockets.extend(&self.sending);
        }
        let mut buffer = [0; 65536];
        while let Some(index) = readable(&sockets, deadline)? {
            let Ok((length, SocketAddr::V4(source))) = receive(sockets[index], &mut buffer) else {
                return Ok(None);
            };
            let message = Message::parse(&buffer[..length]).context("what came is not SIP")?;
            if index == 0 || !message.is_request() {
                return Ok(Some(Heard { message, source }));
            }
        }
        Ok(None)
    }

    /// Returns a request with a branch of its own.
    pub fn request(&self, method: &str, uri: &str, cseq: u32) -> Message {
        Message::new(format!("{method} {uri} SIP/2.0"))
            .with(
                "Via",
                format!("SIP/2.0/UDP {};branch=z9hG4bK-{}", self.local, unique()),
            )
            .with("Max-Forwards", "70")
            .with("CSeq", format!("{cseq} {method}"))
    }
}

/// Waits for a socket that has something to read. A stopped and continued process goes on waiting.
fn readable(sockets: &[&UdpSocket], deadline: Instant) -> Result<Option<usize>> {
    loop {
        let mut polled: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut polled, PollTimeout::try_from(left)?) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
            Ok(_) => {
                return Ok(polled.iter().position(|fd| fd.any() == Some(true)));
            }
        }
    }
}

impl ScriptedPbx {
    /// The URI that it gives as its Contact.
    pub const URI: &str = "sip:pbx@203.0.113.10:5060";

    /// Binds [`PBX`] in `netns`.
    pub fn start(netns: &Netns, answers: Answers, patience: Duration) -> Result<Self> {
        Ok(Self {
            ua: Ua::start(netns, PBX, patience)?,
            answers,
        })
    }

    /// Returns the next message, which must begin with `start`. Its Via gets `received` if the source differs from it
    /// (RFC 3261 18.2.1).
    pub fn hear(&self, start: &str) -> Result<Heard> {
        let mut heard = self.ua.hear(start)?;
        heard.message.note_received(*heard.source.ip());
        Ok(heard)
    }

    /// Returns a complete response: with a tag in To, and with a Contact for methods that need one.
    pub fn response(&self, request: &Heard, status: &str) -> Message {
        let request = &request.message;
        let mut response = Message::response(request, status);
        if let Some(to) = response.field_mut("To").filter(|_| !request.is_in_dialog()) {
            to.push_str(&format!(";tag=pbx-{}", request.branch()));
        }
        if !["REGISTER", "BYE", "CANCEL", "PUBLISH"].contains(&request.method()) {
            response.push("Contact", format!("<{}>", Self::URI));
        }
        response
    }

    /// Sends a response to `request`.
    pub fn answer(&self, request: &Heard, response: &Message) -> Result<()> {
        let to = match self.answers {
            Answers::ByVia => request.message.response_address(),
            Answers::ToSource => Some(request.source),
        };
        self.ua.send(response, to.context("no address in the Via")?)
    }

    /// Sends the plain response `status` to `request`.
    pub fn respond(&self, request: &Heard, status: &str) -> Result<()> {
        self.answer(request, &self.response(request, status))
    }

    /// Sends a request to the address in its Request-URI.
    pub fn send(&self, request: &Message) -> Result<()> {
        self.ua.send(request, address(request.request_uri())?)
    }

    /// Sends a request until `phone` hears it, which must be at transmission `number`, counted from 1, and not before.
    pub fn reaches(&self, phone: &Ua, request: &Message, number: usize) -> Result<Heard> {
        phone.hears_at(request.method(), number, || self.send(request))
    }

    /// Returns a request outside of any dialog: to `uri`, for the address-of-record `to`.
    pub fn request(&self, method: &str, uri: &str, to: &str) -> Message {
        let number = unique();
        self.ua
            .request(method, uri, number)
            .with("From", format!("<sip:2000@203.0.113.10>;tag=pbx{number}"))
            .with("To", format!("<{to}>"))
            .with("Call-ID", format!("{number}@203.0.113.10"))
            .with("Contact", format!("<{}>", Self::URI))
    }
}

impl Terminal {
    /// A phone at `local` in `netns` with a Contact of that address.
    pub fn start(
        netns: &Netns,
        local: SocketAddrV4,
        user: &str,
        patience: Duration,
    ) -> Result<Self> {
        Ok(Self {
            ua: Ua::start(netns, local, patience)?,
            aor: format!("sip:{user}@203.0.113.10"),
            contact: format!("<sip:{user}@{local}>"),
            registration: format!("register-{}", unique()),
            cseq: Cell::new(0),
        })
    }

    /// The same phone with another Contact.
    #[must_use]
    pub fn with_contact(mut self, contact: impl Into<String>) -> Self {
        self.contact = contact.into();
        self
    }

    /// Returns a request outside of any dialog.
    pub fn request(&self, method: &str, to: &str) -> Message {
        let number = unique();
        self.ua
            .request(method, to, number)
            .with("From", format!("<{}>;tag=phone{number}", self.aor))
            .with("To", format!("<{to}>"))
            .with("Call-ID", format!("{number}@phone"))
            .with("Contact", &self.contact)
    }

    /// Makes the phone register under another Call-ID from now on, as after a reboot.
    pub fn reboot(&mut self) {
        self.registration = format!("register-{}", unique());
    }

    /// Returns the next REGISTER: all have one Call-ID (RFC 3261 10.2.4).
    pub fn register(&self) -> Message {
        self.cseq.set(self.cseq.get() + 1);
        self.ua
            .request("REGISTER", "sip:203.0.113.10", self.cseq.get())
            .with("From", format!("<{}>;tag={}", self.aor, self.registration))
            .with("To", format!("<{}>", self.aor))
            .with("Call-ID", format!("{}@phone", self.registration))
            .with("Contact", &self.contact)
    }

    /// Registers for a minute. Returns the URI under which the PBX knows the phone.
    pub fn registers(&self, pbx: &ScriptedPbx) -> Result<String> {
        self.registers_at(pbx, 1)
    }

    /// Registers for a minute. The phone must hear the answer at transmission `number` of its REGISTER. Returns the URI
    /// under which the PBX knows the phone.
    pub fn registers_at(&self, pbx: &ScriptedPbx, number: usize) -> Result<String> {
        self.is_registered(pbx, &self.register(), number)
    }

    /// Registers for a minute, with the credentials that a challenge asked for. Returns the URI under which the PBX knows the
    /// phone.
    pub fn registers_with_credentials(&self, pbx: &ScriptedPbx) -> Result<String> {
        let register = self
            .register()
            .with("Authorization", "Digest username=\"1000\"");
        self.is_registered(pbx, &register, 1)
    }

    fn is_registered(
        &self,
        pbx: &ScriptedPbx,
        register: &Message,
        number: usize,
    ) -> Result<String> {
        let register = register.clone().with("Expires", "60");
        let register = self.is_answered(pbx, &register, number, |request| {
            let uri = request.message.contact().unwrap_or_default();
            pbx.response(request, "200 OK")
                .with("Contact", format!("<{uri}>;expires=60"))
        })?;
        let uri = register.message.contact().context("no Contact")?;
        Ok(uri.to_owned())
    }

    /// Sends a request until the phone hears the PBX's response to it, which must be at transmission `number`, counted
    /// from 1, and not before. Returns the request as it arrived.
    pub fn is_answered(
        &self,
        pbx: &ScriptedPbx,
        request: &Message,
        number: usize,
        response: impl Fn(&Heard) -> Message,
    ) -> Result<Heard> {
        let mut last = None;
        let answer = self.ua.hears_at("SIP/2.0", number, || {
            self.ua.send(request, PBX)?;
            let heard = pbx.hear(request.method())?;
            let response = response(&heard);
            pbx.answer(&heard, &response)?;
            last = Some((heard, response));
            Ok(())
        })?;
        let (heard, response) = last.context("no transmission")?;
        ensure!(
            answer.message.start == response.start,
            "{} heard `{}`, not `{}`",
            self.ua.local,
            answer.message.start,
            response.start
        );
        Ok(heard)
    }

    /// Sends a response to a request of the PBX, with this tag in To if it has none.
    pub fn respond(&self, request: &Heard, status: &str, tag: &str) -> Result<()> {
        self.ua
            .send(&self.response(&request.message, status, tag), PBX)
    }

    /// Returns a response to a request of the PBX, with this tag in To if it has none.
    pub fn response(&self, request: &Message, status: &str, tag: &str) -> Message {
        let mut response = Message::response(request, status);
        if let Some(to) = response.field_mut("To").filter(|_| !request.is_in_dialog()) {
            to.push_str(&format!(";tag={tag}"));
        }
        response.with("Contact", &self.contact)
    }
}
