//! Requests of the PBX to the phones.

use std::time::Instant;

use nat_test_support::{
    PBX,
    sip::{self, Message},
};

use super::{FOR, Pbx, RING, Request, key, of_same_transaction};
use crate::{
    audio,
    shared::{Figure, aor},
};

impl<'s> Pbx<'s> {
    /// Sends a request outside of any dialog, to a phone's contact.
    pub(super) fn begin(&mut self, phone: usize, method: &str, cancels: bool) {
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

    /// Sends a request within a call.
    pub(super) fn within(&mut self, call_id: &str, method: &str) {
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
    pub(super) fn compose(
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
            "INVITE" => message.with_sdp(&audio::of_pbx(phone)),
            "NOTIFY" => message
                .with("Event", "message-summary")
                .with("Subscription-State", "active"),
            _ => message,
        }
    }

    pub(super) fn ask(&mut self, phone: usize, message: Message, cancels: bool) {
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

    pub(super) fn response(&mut self, response: &Message) {
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
            // A repeated final response to INVITE has missed its ACK.
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

    /// The final response to an INVITE: it is acknowledged, and a 2xx makes a call.
    pub(super) fn invited(
        &mut self,
        phone: usize,
        invite: &Message,
        response: &Message,
        key: String,
    ) {
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

    pub(super) fn acknowledge(&mut self, ack: &Message, key: String) {
        let Some(to) = sip::uri_host_port(ack.request_uri()) else {
            return;
        };
        let text = ack.to_string().into_bytes();
        let _ = self.socket.send_to(&text, to.address());
        self.said.insert(key, (text, to.address(), Instant::now()));
    }
}
