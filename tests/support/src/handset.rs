//! A phone with a password, in the hands of a test. By itself it only answers OPTIONS and NOTIFY, and ignores what it has
//! heard before. It knows nothing of NAT.

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    asterisk::PASSWORD,
    digest,
    lab::PBX,
    netns::Netns,
    sip::{Message, of_same_transaction, parameter},
    ua::{Heard, Terminal},
    unique::unique,
};

/// Interval until the first repetition of a request.
const T1: Duration = Duration::from_millis(500);

/// A phone.
#[derive(Debug)]
pub struct Handset {
    /// What it is without a password.
    pub terminal: Terminal,
    user: String,
    patience: Cell<Duration>,
    rport: bool,
    heard: RefCell<HashSet<String>>,
    /// Messages that are to be heard next.
    waiting: RefCell<VecDeque<Heard>>,
}

/// A dialog of a phone.
#[derive(Debug)]
pub struct Dialog<'a> {
    phone: &'a Handset,
    /// Call-ID.
    pub call_id: String,
    /// From of the phone's requests.
    pub local: String,
    /// To of the phone's requests.
    pub remote: String,
    /// Request-URI of the phone's requests.
    pub target: String,
    /// Address to which the PBX wants the phone's audio.
    pub audio: Option<SocketAddrV4>,
    cseq: Cell<u32>,
}

/// An answer to a phone's request, and the request as it was accepted or refused.
#[derive(Debug)]
pub struct Answered {
    /// The last transmission of the request, with the password if it was asked for.
    pub request: Message,
    /// The final response.
    pub response: Message,
}

impl Handset {
    /// Starts it on a host. An expected message must come within `patience`.
    pub fn start(
        netns: &Netns,
        local: SocketAddrV4,
        user: &str,
        patience: Duration,
    ) -> Result<Self> {
        Ok(Self {
            terminal: Terminal::start(netns, local, user, patience)?,
            user: user.to_owned(),
            patience: Cell::new(patience),
            rport: false,
            heard: RefCell::default(),
            waiting: RefCell::default(),
        })
    }

    /// Session description of the phone, with this direction of media.
    pub fn sdp(&self, direction: &str) -> String {
        let host = *self.terminal.ua.local().ip();
        format!(
            "v=0\r\no=phone 1 {} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\na={direction}\r\n",
            unique()
        )
    }

    /// Registers with its Contact for a minute. Returns the PBX's 200.
    pub fn register(&self) -> Result<Message> {
        self.registers_for("60")
    }

    /// Registers with its Contact for so many seconds; 0 removes it. Returns the PBX's 200.
    pub fn registers_for(&self, seconds: &str) -> Result<Message> {
        self.asks(|| self.terminal.register().with("Expires", seconds))?
            .succeeded()
    }

    /// Sends a request outside of a dialog, to a user at the PBX. Returns the final response.
    pub fn request(&self, method: &str, user: &str, more: &[(&str, &str)]) -> Result<Answered> {
        self.request_with(method, user, |mut request| {
            for (name, value) in more {
                request.push(name, *value);
            }
            request
        })
    }

    /// Sends a request outside of a dialog that `complete` completes, to a user at the PBX.
    pub fn request_with(
        &self,
        method: &str,
        user: &str,
        complete: impl Fn(Message) -> Message,
    ) -> Result<Answered> {
        self.asks(self.outside(user, method, complete))
    }

    /// Returns a function that makes the transmissions of a request outside of a dialog.
    fn outside(
        &self,
        user: &str,
        method: &str,
        complete: impl Fn(Message) -> Message,
    ) -> impl Fn() -> Message {
        let uri = format!("sip:{user}@{}", PBX.ip());
        let number = unique();
        let cseq = Cell::new(number);
        move || {
            cseq.set(cseq.get() + 1);
            let request = self.terminal.ua.request(method, &uri, cseq.get());
            complete(
                request
                    .with("From", format!("<{}>;tag=phone{number}", self.terminal.aor))
                    .with("To", format!("<{uri}>"))
                    .with("Call-ID", format!("{number}@phone"))
                    .with("Contact", &self.terminal.contact),
            )
        }
    }

    /// Calls a user at the PBX, who must answer.
    pub fn calls(&self, user: &str) -> Result<Dialog<'_>> {
        let invite = self.invites(user)?;
        self.is_answered(&invite)
    }

    /// Calls a user at the PBX. Returns the INVITE that the PBX did not ask a password for.
    pub fn invites(&self, user: &str) -> Result<Message> {
        self.invites_with(user, |invite| invite)
    }

    /// Calls a user at the PBX by an INVITE that `complete` completes.
    pub fn invites_with(
        &self,
        user: &str,
        complete: impl Fn(Message) -> Message,
    ) -> Result<Message> {
        let make = self.outside(user, "INVITE", |invite| {
            complete(invite).with_sdp(&self.sdp("sendrecv"))
        });
        let first = make();
        let challenge = self.transacts(&first)?;
        let invite = self.with_credentials(make(), &challenge)?;
        let first = self.repeats(&invite)?;
        self.waiting.borrow_mut().push_back(first);
        Ok(invite)
    }

    /// Waits until its call is answered, and acknowledges that.
    pub fn is_answered(&self, invite: &Message) -> Result<Dialog<'_>> {
        let response = self.hears_final(invite)?;
        let dialog = self.dialog_of(invite, &response)?;
        dialog.acknowledges()?;
        Ok(dialog)
    }

    /// Gives its call up. Repeats its CANCEL until both that and the call are answered, in any order. `chan_sip` answers a repeated
    /// CANCEL with 481.
    pub fn cancels(&self, invite: &Message) -> Result<()> {
        let to = invite.field("To").context("no To")?;
        let cancel = of_same_transaction(invite, "CANCEL", to)?;
        let deadline = Instant::now() + self.patience.get();
        let mut unanswered = vec!["CANCEL", "INVITE"];
        while !unanswered.is_empty() {
            ensure!(Instant::now() < deadline, "no answer of {unanswered:?}");
            if unanswered.contains(&"CANCEL") {
                self.send(&cancel)?;
            }
            while let Some(heard) = self.hear_within("SIP/2.0", T1)? {
                let response = heard.message;
                match (response.cseq().1, response.status()) {
                    ("CANCEL", Some(200 | 481)) => unanswered.retain(|method| *method != "CANCEL"),
                    ("INVITE", Some(487)) => {
                        self.refusal_is_acknowledged(invite, &response)?;
                        unanswered.retain(|method| *method != "INVITE");
                    }
                    (_, Some(100..200)) => {}
                    _ => bail!("{} came after CANCEL", response.start),
                }
                if unanswered.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns the dialog that a request of this phone began.
    pub fn dialog_of(&self, request: &Message, response: &Message) -> Result<Dialog<'_>> {
        ensure!(
            response.status().is_some_and(|status| status < 300),
            "{} got {}",
            request.start,
            response.start
        );
        let field = |name: &str| {
            let value = response.field(name).map(str::to_owned);
            value.with_context(|| format!("no {name} in {}", response.start))
        };
        Ok(Dialog {
            phone: self,
            call_id: request.call_id().to_owned(),
            local: field("From")?,
            remote: field("To")?,
            target: response.contact().context("no Contact")?.to_owned(),
            audio: response.audio(),
            cseq: Cell::new(request.cseq().0),
        })
    }

    /// Calls `action` with so much more patience.
    pub fn waits<T>(&self, longer: Duration, action: impl FnOnce() -> T) -> T {
        let before = self.patience.replace(self.patience.get() + longer);
        let done = action();
        self.patience.set(before);
        done
    }

    /// Waits for a call, rings and answers it, and waits for the ACK.
    pub fn answers(&self) -> Result<Dialog<'_>> {
        let invite = self.hear("INVITE")?;
        let tag = format!("phone{}", unique());
        self.respond(&invite, "180 Ringing", &tag)?;
        self.picks_up(&invite, &tag)
    }

    /// Answers a call, and waits for the ACK.
    pub fn picks_up(&self, invite: &Heard, tag: &str) -> Result<Dialog<'_>> {
        let ok = self
            .terminal
            .response(&invite.message, "200 OK", tag)
            .with_sdp(&self.sdp("sendrecv"));
        self.terminal.ua.send(&ok, PBX)?;
        self.hear("ACK")?;
        let field = |name: &str| {
            let value = ok.field(name).map(str::to_owned);
            value.with_context(|| format!("no {name} in {}", ok.start))
        };
        Ok(Dialog {
            phone: self,
            call_id: ok.call_id().to_owned(),
            local: field("To")?,
            remote: field("From")?,
            target: invite.message.contact().context("no Contact")?.to_owned(),
            audio: invite.message.audio(),
            cseq: Cell::new(unique()),
        })
    }

    /// Waits until the PBX tells that it has made a transfer (RFC 3515 2.4.5). The calls then end: the PBX hangs up, maybe
    /// before it tells, or else the phone does.
    pub fn has_transferred(&self, calls: &[&Dialog<'_>]) -> Result<()> {
        let deadline = Instant::now() + self.patience.get();
        let (mut open, mut told) = (calls.to_vec(), false);
        while !told || !open.is_empty() {
            let until = if told {
                Instant::now() + 2 * T1
            } else {
                deadline
            };
            let Some(heard) = self.next(until)? else {
                break;
            };
            let message = &heard.message;
            match message.method() {
                "BYE" if message.is_request() => {
                    self.respond(&heard, "200 OK", "")?;
                    open.retain(|call| call.call_id != message.call_id());
                }
                "NOTIFY" if message.is_request() => {
                    self.respond(&heard, "200 OK", "")?;
                    told |= calls.iter().any(|call| call.call_id == message.call_id())
                        && message.body().starts_with("SIP/2.0 200");
                }
                _ => self.passes(&heard, "NOTIFY or BYE")?,
            }
        }
        ensure!(told, "{} heard of no transfer", self.terminal.ua.local());
        open.iter().try_for_each(|call| call.hangs_up())
    }

    /// Sends a response to a request of the PBX, with this tag in To if it has none.
    pub fn respond(&self, request: &Heard, status: &str, tag: &str) -> Result<()> {
        self.terminal.respond(request, status, tag)
    }

    /// The same phone, which asks for responses to the source of its requests (RFC 3581).
    #[must_use]
    pub fn with_rport(mut self) -> Self {
        self.rport = true;
        self
    }

    fn send(&self, request: &Message) -> Result<()> {
        let mut request = request.clone();
        if self.rport {
            let via = request.field_mut("Via");
            via.context("no Via")?.push_str(";rport");
        }
        self.terminal.ua.send(&request, PBX)
    }

    /// Sends a request until its final response, with the password if the PBX asks for it. `make` returns the request, each
    /// time with another branch and a higher CSeq.
    pub fn asks(&self, make: impl Fn() -> Message) -> Result<Answered> {
        let request = make();
        let response = self.transacts(&request)?;
        if !matches!(response.status(), Some(401 | 407)) {
            return Ok(Answered { request, response });
        }
        let request = self.with_credentials(make(), &response)?;
        let response = self.transacts(&request)?;
        Ok(Answered { request, response })
    }

    /// Returns a request with the password that a response asks for.
    fn with_credentials(&self, request: Message, response: &Message) -> Result<Message> {
        let (challenge, credentials) = match response.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            Some(407) => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => bail!("{} asks for no password", response.start),
        };
        let value = digest::credentials(
            response.field(challenge).context("no challenge")?,
            request.method(),
            request.request_uri(),
            [&self.user, PASSWORD],
        )?;
        Ok(request.with(credentials, value))
    }

    /// Sends a request. Returns its final response. Acknowledges one to INVITE that is no 2xx.
    fn transacts(&self, request: &Message) -> Result<Message> {
        let first = self.repeats(request)?;
        self.waiting.borrow_mut().push_back(first);
        let response = self.hears_final(request)?;
        if request.method() == "INVITE" && response.status().is_none_or(|status| status >= 300) {
            self.refusal_is_acknowledged(request, &response)?;
        }
        Ok(response)
    }

    /// Sends a request, and repeats it until the first response to it (RFC 3261 17.1).
    fn repeats(&self, request: &Message) -> Result<Heard> {
        let deadline = Instant::now() + self.patience.get();
        let mut interval = T1;
        loop {
            self.send(request)?;
            let until = deadline.min(Instant::now() + interval);
            while let Some(heard) = self.next(until)? {
                if heard.message.branch() == request.branch() && !heard.message.is_request() {
                    return Ok(heard);
                }
                self.passes(&heard, "a response")?;
            }
            ensure!(Instant::now() < deadline, "{} got no answer", request.start);
            interval *= 2;
        }
    }

    fn refusal_is_acknowledged(&self, invite: &Message, response: &Message) -> Result<()> {
        let to = response.field("To").context("no To")?;
        let ack = of_same_transaction(invite, "ACK", to)?;
        self.send(&ack)
    }

    /// Waits for the final response to a request that was sent.
    pub fn hears_final(&self, request: &Message) -> Result<Message> {
        loop {
            let response = self.hear("SIP/2.0")?.message;
            if is_final(&response, request) {
                return Ok(response);
            }
        }
    }

    /// Waits for a message that begins with `start`, and fails if another comes before. It answers OPTIONS and NOTIFY that
    /// nobody waits for, and ignores repetitions and 100 (Trying).
    pub fn hear(&self, start: &str) -> Result<Heard> {
        let heard = self.hear_within(start, self.patience.get())?;
        heard.with_context(|| format!("{} heard no {start}", self.terminal.ua.local()))
    }

    /// Does the same, and returns none if `limit` passes.
    pub fn hear_within(&self, start: &str, limit: Duration) -> Result<Option<Heard>> {
        let deadline = Instant::now() + limit;
        while let Some(heard) = self.next(deadline)? {
            let line = &heard.message.start;
            if line.starts_with(start) && !line.starts_with("SIP/2.0 100") {
                return Ok(Some(heard));
            }
            self.passes(&heard, start)?;
        }
        Ok(None)
    }

    /// Returns the next message that it has not heard before.
    fn next(&self, deadline: Instant) -> Result<Option<Heard>> {
        if let Some(heard) = self.waiting.borrow_mut().pop_front() {
            return Ok(Some(heard));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(heard) = self.terminal.ua.listen(left)? else {
                return Ok(None);
            };
            if self.heard.borrow_mut().insert(heard.message.to_string()) {
                return Ok(Some(heard));
            }
        }
    }

    /// Deals with a message that nobody waits for. Fails if it is one that the phone does not answer by itself.
    fn passes(&self, heard: &Heard, awaited: &str) -> Result<()> {
        let line = &heard.message.start;
        match heard.message.method() {
            "OPTIONS" | "NOTIFY" if heard.message.is_request() => {
                self.respond(heard, "200 OK", "phone")
            }
            _ if line.starts_with("SIP/2.0 1") => Ok(()),
            _ => bail!(
                "{} heard `{line}` instead of {awaited}",
                self.terminal.ua.local()
            ),
        }
    }
}

/// Whether a response is the final one to `request`.
fn is_final(response: &Message, request: &Message) -> bool {
    response.branch() == request.branch()
        && response.cseq() == request.cseq()
        && response.status().is_some_and(|status| status >= 200)
}

impl Answered {
    /// Returns the response, which must be a 2xx.
    pub fn succeeded(self) -> Result<Message> {
        ensure!(
            self.response.status().is_some_and(|status| status < 300),
            "{} got {}",
            self.request.start,
            self.response.start
        );
        Ok(self.response)
    }
}

impl Dialog<'_> {
    /// Returns the phone's next request.
    pub fn request(&self, method: &str) -> Message {
        if method != "ACK" {
            self.cseq.set(self.cseq.get() + 1);
        }
        self.phone
            .terminal
            .ua
            .request(method, &self.target, self.cseq.get())
            .with("From", &self.local)
            .with("To", &self.remote)
            .with("Call-ID", &self.call_id)
            .with("Contact", &self.phone.terminal.contact)
    }

    /// The phone acknowledges the PBX's 2xx.
    pub fn acknowledges(&self) -> Result<()> {
        self.phone.send(&self.request("ACK"))
    }

    /// The phone sends a request that `complete` completes. Returns the PBX's 2xx.
    pub fn asks(&self, method: &str, complete: impl Fn(Message) -> Message) -> Result<Message> {
        let ok = self
            .phone
            .asks(|| complete(self.request(method)))?
            .succeeded()?;
        if method == "INVITE" {
            self.acknowledges()?;
        }
        Ok(ok)
    }

    /// The phone changes the direction of media.
    pub fn reinvites(&self, direction: &str) -> Result<Message> {
        self.asks("INVITE", |invite| {
            invite.with_sdp(&self.phone.sdp(direction))
        })
    }

    /// The phone transfers the call to a user of the PBX (RFC 3515).
    pub fn refers_to(&self, user: &str) -> Result<()> {
        self.refers(&format!("<sip:{user}@{}>", PBX.ip()))
    }

    /// The phone transfers the call to the other end of its call with a user of the PBX (RFC 3891).
    pub fn refers_to_end_of(&self, user: &str, call: &Self) -> Result<()> {
        let tag = |party| parameter(party, "tag").context("no tag");
        let replaces = format!(
            "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
            call.call_id.replace('@', "%40"),
            tag(&call.remote)?,
            tag(&call.local)?
        );
        self.refers(&format!("<sip:{user}@{}?Replaces={replaces}>", PBX.ip()))
    }

    fn refers(&self, to: &str) -> Result<()> {
        let referred_by = format!("<{}>", self.phone.terminal.aor);
        let complete =
            |refer: Message| refer.with("Refer-To", to).with("Referred-By", &referred_by);
        self.asks("REFER", complete).map(drop)
    }

    /// The phone hangs up, and the PBX hears it. If the answer to the first BYE is lost, `chan_sip` may know no such call at the
    /// second.
    pub fn hangs_up(&self) -> Result<()> {
        let answer = self.phone.asks(|| self.request("BYE"))?.response;
        ensure!(matches!(answer.status(), Some(200 | 481)), "{answer}");
        Ok(())
    }

    /// The PBX sends a request, which must be of this dialog, and the phone answers 200. An INVITE gets a session
    /// description and must then be acknowledged.
    pub fn hears(&self, method: &str) -> Result<Message> {
        let heard = self.phone.hear(method)?;
        ensure!(
            heard.message.call_id() == self.call_id,
            "{method} is of another call"
        );
        let mut ok = self.phone.terminal.response(&heard.message, "200 OK", "");
        if method == "INVITE" {
            ok = ok.with_sdp(&self.phone.sdp("sendrecv"));
        }
        self.phone.terminal.ua.send(&ok, PBX)?;
        if method == "INVITE" {
            self.phone.hear("ACK")?;
        }
        Ok(heard.message)
    }
}
