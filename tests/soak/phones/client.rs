//! Requests of the phones: REGISTER, and those that start, change and end a call.

use nat_test_support::{PBX, sip::Message};

use super::{Asked, Call, Job, Phones, key};
use crate::{
    audio,
    pbx::CREDENTIALS,
    shared::{Figure, aor},
};

impl<'s> Phones<'s> {
    pub(super) fn register(&mut self, phone: usize) {
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

    pub(super) fn dial(&mut self, phone: usize) {
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

    /// Sends a request within the phone's call, or the one that starts it.
    pub(super) fn within(&mut self, phone: usize, method: &str) {
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
                message.with_sdp(&audio::of_phone(self.all[phone].index))
            } else {
                message
            },
        );
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

    /// Returns the prefix of the branches of a phone.
    pub(super) fn branch(&self, phone: usize) -> String {
        format!("z9hG4bK-{}-phone{phone}-", self.shared.run)
    }

    pub(super) fn ask(&mut self, phone: usize, message: Message) {
        self.shared.count(Figure::PhonesAsked);
        self.send_until_answered(phone, &key(&message), message.clone());
    }

    pub(super) fn send_until_answered(&mut self, phone: usize, key: &str, message: Message) {
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

    pub(super) fn response(&mut self, phone: usize, response: &Message) {
        if !response.branch().contains("-phone") {
            return;
        }
        if !response.branch().starts_with(&self.branch(phone)) {
            // Responses of a previous run are ignored.
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
    pub(super) fn answered(
        &mut self,
        phone: usize,
        invite: &Message,
        response: &Message,
        key: String,
    ) {
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

    /// Marks the phone as settled once the PBX knows its mapping.
    pub(super) fn settle(&self, phone: usize) {
        let this = &self.all[phone];
        if !this.unregistered && !this.unconfirmed {
            self.shared.settled(phone, this.changes);
        }
    }
}
