//! Socket, transactions and timers of the PBX, on a thread of their own.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::dialog::{Dialog, GIVE_UP, field};
use crate::{
    lab::PBX,
    sip::{self, Answers, Message, address},
};

/// Expiry that the registrar grants.
const GRANTED: &str = "60";

pub(super) const TICK: Duration = Duration::from_millis(5);

/// RFC 3261 timer T1.
const T1: Duration = Duration::from_millis(500);

/// RFC 3261 timer T2.
const T2: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: UdpSocket,
    pub(super) answers: Answers,
    /// Session description of the PBX, in offers and answers.
    pub(super) sdp: String,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) stop: AtomicBool,
    pub(super) counter: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Contact URI of each address-of-record.
    pub(super) contacts: HashMap<String, String>,
    /// Calls of phones, in order, with whether the ACK has arrived.
    pub(super) incoming: Vec<(Dialog, bool)>,
    /// The last response to a request, by branch and method, for retransmissions of the request.
    sent: HashMap<(String, String), Vec<(String, SocketAddrV4)>>,
    received: Vec<Message>,
    pending: Vec<Retransmission>,
    acks: HashMap<String, (String, SocketAddrV4)>,
}

#[derive(Debug)]
struct Retransmission {
    /// The branch of a request, or the Call-ID of a 2xx to INVITE.
    key: String,
    text: String,
    destination: SocketAddrV4,
    interval: Duration,
    next: Instant,
    until: Instant,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn wait<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(found) = found(&mut state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn send(&self, text: &str, destination: SocketAddrV4) {
        // An error "unreachable" is ignored; the timers decide.
        let _ = self.socket.send_to(text.as_bytes(), destination);
    }

    pub(super) fn serve(&self) {
        let mut buffer = [0; 65536];
        while !self.stop.load(Ordering::Relaxed) {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(source))) => {
                    if let Some(message) = Message::parse(&buffer[..length]) {
                        self.receive(message, source);
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // An ICMP error of an earlier send. An IPv6 source is impossible.
                _ => {}
            }
            self.retransmit();
        }
    }

    fn retransmit(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.pending.retain(|pending| pending.until > now);
        for pending in state
            .pending
            .iter_mut()
            .filter(|pending| pending.next <= now)
        {
            self.send(&pending.text, pending.destination);
            pending.interval = T2.min(pending.interval * 2);
            pending.next = now + pending.interval;
        }
    }

    fn receive(&self, message: Message, source: SocketAddrV4) {
        let mut state = self.state();
        if message.is_request() {
            self.receive_request(&mut state, message, source);
        } else {
            self.receive_response(&mut state, message);
        }
        self.changed.notify_all();
    }

    fn receive_response(&self, state: &mut State, message: Message) {
        state.pending.retain(|pending| pending.key != key(&message));
        // A repeated 2xx has missed its ACK.
        if let Some((ack, destination)) = state.acks.get(message.branch()) {
            self.send(ack, *destination);
        }
        state.received.push(message);
    }

    fn receive_request(&self, state: &mut State, mut request: Message, source: SocketAddrV4) {
        request.note_received(*source.ip());
        let transaction = (request.branch().to_owned(), request.method().to_owned());
        if let Some(sent) = state.sent.get(&transaction) {
            for (text, destination) in sent {
                self.send(text, *destination);
            }
            return;
        }
        let responses = match request.method() {
            "ACK" => {
                state
                    .pending
                    .retain(|pending| pending.key != request.call_id());
                for (dialog, confirmed) in &mut state.incoming {
                    *confirmed |= dialog.call_id == request.call_id();
                }
                return;
            }
            "REGISTER" => vec![register(state, &request)],
            "INVITE" => self.invited(state, &request),
            _ => vec![Message::response(&request, "200 OK")],
        };
        let Some(destination) = (match self.answers {
            Answers::ByVia => request.response_address(),
            Answers::ToSource => Some(source),
        }) else {
            return;
        };
        let sent: Vec<_> = responses
            .iter()
            .map(|response| (response.to_string(), destination))
            .collect();
        for (text, destination) in &sent {
            self.send(text, *destination);
        }
        if let (Some((text, _)), "INVITE") = (sent.last(), request.method()) {
            state
                .pending
                .push(Retransmission::new(request.call_id(), text, destination));
        }
        state.sent.insert(transaction, sent);
    }

    /// Answers an INVITE at once. Without To-tag it makes a dialog.
    fn invited(&self, state: &mut State, request: &Message) -> Vec<Message> {
        let contact = format!("<sip:pbx@{PBX}>");
        if request.is_in_dialog() {
            return vec![
                Message::response(request, "200 OK")
                    .with("Contact", contact)
                    .with_sdp(&self.sdp),
            ];
        }
        let mut ringing = Message::response(request, "180 Ringing").with("Contact", contact);
        if let Some(to) = ringing.field_mut("To") {
            to.push_str(&format!(";tag=pbx{}", self.next()));
        }
        let mut ok = ringing.clone().with_sdp(&self.sdp);
        "SIP/2.0 200 OK".clone_into(&mut ok.start);
        if let (Ok(local), Ok(remote), Some(target)) =
            (field(&ok, "To"), field(&ok, "From"), request.contact())
        {
            let call_id = request.call_id().to_owned();
            state.incoming.push((
                Dialog {
                    call_id,
                    audio: request.audio(),
                    local,
                    remote,
                    target: target.to_owned(),
                },
                false,
            ));
        }
        vec![ringing, ok]
    }

    pub(super) fn new_request(
        &self,
        method: &str,
        target: &str,
        from: &str,
        to: &str,
        call_id: &str,
    ) -> Message {
        let number = self.next();
        let request = Message::new(format!("{method} {target} SIP/2.0"))
            .with(
                "Via",
                format!("SIP/2.0/UDP {PBX};branch=z9hG4bK-pbx-{number}"),
            )
            .with("Max-Forwards", "70")
            .with("From", from)
            .with("To", to)
            .with("Call-ID", call_id)
            .with("CSeq", format!("{number} {method}"))
            .with("Contact", format!("<sip:pbx@{PBX}>"));
        if method == "INVITE" {
            request.with_sdp(&self.sdp)
        } else {
            request
        }
    }

    pub(super) fn send_request(&self, request: &Message, destination: SocketAddrV4) -> Result<()> {
        let text = request.to_string();
        self.state()
            .pending
            .push(Retransmission::new(&key(request), &text, destination));
        self.socket
            .send_to(text.as_bytes(), destination)
            .with_context(|| request.start.clone())?;
        Ok(())
    }

    pub(super) fn final_response(
        &self,
        request: &Message,
        destination: SocketAddrV4,
    ) -> Result<Message> {
        let response = self
            .wait(GIVE_UP, |state| {
                state.response_to(request, |status| status >= 200)
            })
            .ok_or_else(|| anyhow!("no answer to {} sent to {destination}", request.start))?;
        if request.method() == "INVITE" && response.status() >= Some(300) {
            // The ACK of this transaction, RFC 3261 17.1.1.3: same branch, same destination.
            let ack = sip::of_same_transaction(request, "ACK", &field(&response, "To")?)?;
            self.send(&ack.to_string(), destination);
        }
        Ok(response)
    }

    /// Sends the ACK to a 2xx: a request of its own, to the Contact of the 2xx.
    pub(super) fn acknowledge(&self, invite: &Message, ok: &Message) -> Result<()> {
        let target = ok.contact().context("2xx without Contact")?;
        let (from, to) = (field(ok, "From")?, field(ok, "To")?);
        let mut ack = self.new_request("ACK", target, &from, &to, ok.call_id());
        if let Some(cseq) = ack.field_mut("CSeq") {
            *cseq = format!("{} ACK", invite.cseq().0);
        }
        let (text, destination) = (ack.to_string(), address(target)?);
        self.send(&text, destination);
        self.state()
            .acks
            .insert(invite.branch().to_owned(), (text, destination));
        Ok(())
    }
}

impl State {
    pub(super) fn response_to(
        &self,
        request: &Message,
        status: impl Fn(u16) -> bool,
    ) -> Option<Message> {
        let mut received = self.received.iter();
        received
            .find(|response| {
                key(response) == key(request) && response.status().is_some_and(&status)
            })
            .cloned()
    }
}

impl Retransmission {
    fn new(key: &str, text: &str, destination: SocketAddrV4) -> Self {
        let now = Instant::now();
        Self {
            key: key.to_owned(),
            text: text.to_owned(),
            destination,
            interval: T1,
            next: now + T1,
            until: now + GIVE_UP,
        }
    }
}

fn register(state: &mut State, request: &Message) -> Message {
    let aor = request
        .field("To")
        .map(sip::uri)
        .unwrap_or_default()
        .to_owned();
    let response = Message::response(request, "200 OK");
    let asked = request
        .field("Contact")
        .and_then(|contact| sip::parameter(contact, "expires"))
        .or(request.field("Expires"));
    match request.contact() {
        Some(contact) if asked != Some("0") => {
            let granted = format!("<{contact}>;expires={GRANTED}");
            state.contacts.insert(aor, contact.to_owned());
            response.with("Contact", granted)
        }
        _ => {
            state.contacts.remove(&aor);
            response
        }
    }
}

/// Key of a client transaction: CANCEL has the branch of its INVITE.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}
