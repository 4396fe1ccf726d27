//! Requests of the PBX to the phones, and the answers to them.

use nat_test_support::sip::Message;

use super::{Call, Job, Phones, acknowledged_by, key, tag};
use crate::{
    audio,
    pbx::{FOR, RING},
    shared::Figure,
};

impl<'s> Phones<'s> {
    pub(super) fn request(&mut self, phone: usize, request: &Message) {
        let right = request.field(FOR).and_then(|text| text.parse().ok()) == Some(phone);
        if !right {
            eprintln!("phone {phone} got: {request}");
            return self.shared.count(Figure::Wrong);
        }
        self.shared.count(Figure::Right);
        if request.method() == "ACK" {
            self.asked.answered(&acknowledged_by(phone, request));
        } else if request.is_in_dialog() && self.random.below(3) == 0 {
            // A phone takes its time. Its mapping may change meanwhile.
            self.plan(50, 800, Job::Handle(phone, request.to_string()));
        } else {
            self.handle(phone, request);
        }
    }

    pub(super) fn handle(&mut self, phone: usize, request: &Message) {
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

    /// Answers an INVITE outside of a dialog.
    pub(super) fn invited(&mut self, phone: usize, invite: &Message) {
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

    /// Accepts an INVITE.
    pub(super) fn accept(&mut self, phone: usize, ok: Message) {
        let contact = self.all[phone].contact(phone);
        let description = audio::of_phone(self.all[phone].index);
        self.decide(phone, ok.with("Contact", contact).with_sdp(&description));
    }

    /// Sends a final response to INVITE until its ACK comes.
    pub(super) fn decide(&mut self, phone: usize, response: Message) {
        self.all[phone].remember(&key(&response), &response);
        let until = acknowledged_by(phone, &response);
        self.send_until_answered(phone, &until, response);
    }
}
