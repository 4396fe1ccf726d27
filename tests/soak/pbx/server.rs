//! Requests of the phones, and the answers of the PBX to them.

use std::{net::SocketAddrV4, time::Instant};

use nat_test_support::{
    PBX,
    sip::{self, Message},
};

use super::{CREDENTIALS, GRANTED, Job, NOBODY, Pbx, Registered, key, phone};
use crate::{
    audio,
    shared::{Begun, Figure},
};

impl<'s> Pbx<'s> {
    pub(super) fn request(&mut self, mut request: Message, source: SocketAddrV4) {
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
            // Refusals are not kept: a server may be stateless (RFC 3261 8.2.7).
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

    pub(super) fn register(&mut self, phone: usize, request: &Message, source: SocketAddrV4) {
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

    pub(super) fn rings(&mut self, phone: usize, invite: Message) {
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
    pub(super) fn answer(&mut self, call_id: &str) {
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

    /// Accepts an INVITE: the 2xx is sent until the ACK comes (RFC 3261 13.3.1.4).
    pub(super) fn accept(&mut self, begun: Begun, invite: &Message, ok: Message) {
        let ok = ok
            .with("Contact", format!("<sip:pbx@{PBX}>"))
            .with_sdp(&audio::of_pbx(begun.phone));
        self.respond(invite, &ok);
        let Some((text, to, _)) = self.said.get(&key(invite)) else {
            return;
        };
        let key = format!("{} {}", invite.call_id(), invite.cseq().0);
        let note = (invite.call_id().to_owned(), begun);
        self.accepted.sent(&key, text.clone(), *to, note);
    }

    pub(super) fn acknowledged(&mut self, ack: &Message) {
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

    pub(super) fn respond_once(&self, request: &Message, response: &Message) {
        if let Some(to) = request.response_address() {
            let _ = self.socket.send_to(response.to_string().as_bytes(), to);
        }
    }

    pub(super) fn respond(&mut self, request: &Message, response: &Message) {
        let Some(to) = request.response_address() else {
            return;
        };
        let text = response.to_string().into_bytes();
        let _ = self.socket.send_to(&text, to);
        self.said.insert(key(request), (text, to, Instant::now()));
    }
}
