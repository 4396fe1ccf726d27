//! A dialog between a scripted PBX and a scripted phone, with both ends in the hands of a test.

use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};

use crate::{
    lab::PBX,
    sip::Message,
    ua::{Heard, ScriptedPbx, Terminal},
    unique::unique,
};

/// A dialog, with the state of both ends.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// One end.
    pub pbx: &'a ScriptedPbx,
    /// The other end.
    pub terminal: &'a Terminal,
    /// The Call-ID.
    pub call_id: String,
    /// From or To of the PBX, with its tag.
    pub pbx_party: String,
    /// From or To of the phone, with its tag.
    pub phone_party: String,
    /// The PBX's target: the phone's Contact, as it arrived.
    pub target: String,
    pbx_cseq: Cell<u32>,
    phone_cseq: Cell<u32>,
}

impl<'a> Call<'a> {
    /// The phone calls and the PBX answers.
    pub fn from(terminal: &'a Terminal, pbx: &'a ScriptedPbx) -> Result<Self> {
        Self::from_at(terminal, pbx, 1)
    }

    /// The phone calls and the PBX answers. The phone must hear that it rings at transmission `number` of its INVITE.
    pub fn from_at(terminal: &'a Terminal, pbx: &'a ScriptedPbx, number: usize) -> Result<Self> {
        let request = terminal.request("INVITE", "sip:2000@203.0.113.10");
        let ringing = |invite: &Heard| pbx.response(invite, "180 Ringing");
        let invite = terminal.is_answered(pbx, &request, number, ringing)?;
        let ok = pbx.response(&invite, "200 OK");
        pbx.answer(&invite, &ok)?;
        terminal.ua.hear("SIP/2.0 200")?;
        let call = Self::new(pbx, terminal, &ok, ["To", "From"], &invite.message)?;
        call.phone_cseq.set(invite.message.cseq().0);
        call.phone_acknowledges()?;
        Ok(call)
    }

    /// The PBX calls the phone at `uri`, and the phone answers.
    pub fn to(terminal: &'a Terminal, pbx: &'a ScriptedPbx, uri: &str) -> Result<Self> {
        Self::to_at(terminal, pbx, uri, 1)
    }

    /// The PBX calls the phone at `uri`, and the phone answers. The INVITE must arrive at transmission `number`.
    pub fn to_at(
        terminal: &'a Terminal,
        pbx: &'a ScriptedPbx,
        uri: &str,
        number: usize,
    ) -> Result<Self> {
        let request = pbx.request("INVITE", uri, &terminal.aor);
        let invite = pbx.reaches(&terminal.ua, &request, number)?;
        let tag = format!("phone{}", unique());
        terminal.respond(&invite, "180 Ringing", &tag)?;
        pbx.hear("SIP/2.0 180")?;
        terminal.respond(&invite, "200 OK", &tag)?;
        let ok = pbx.hear("SIP/2.0 200")?.message;
        let call = Self::new(pbx, terminal, &ok, ["From", "To"], &ok)?;
        call.pbx_cseq.set(request.cseq().0);
        call.pbx_acknowledges()?;
        Ok(call)
    }

    /// The dialog of `message`, whose fields `pbx_field` and `phone_field` are the two parties. The Contact in
    /// `from_phone` is the target.
    pub fn new(
        pbx: &'a ScriptedPbx,
        terminal: &'a Terminal,
        message: &Message,
        [pbx_field, phone_field]: [&str; 2],
        from_phone: &Message,
    ) -> Result<Self> {
        let field = |name| {
            let value = message.field(name).map(str::to_owned);
            value.with_context(|| format!("no {name} in {}", message.start))
        };
        Ok(Self {
            pbx,
            terminal,
            call_id: message.call_id().to_owned(),
            pbx_party: field(pbx_field)?,
            phone_party: field(phone_field)?,
            target: from_phone.contact().context("no Contact")?.to_owned(),
            pbx_cseq: Cell::new(unique()),
            phone_cseq: Cell::new(unique()),
        })
    }

    /// The phone calls and the PBX answers. INVITE, 200 and ACK have these session descriptions; an empty one is none.
    pub fn from_with(
        terminal: &'a Terminal,
        pbx: &'a ScriptedPbx,
        [offer, answer, ack]: [&str; 3],
    ) -> Result<Self> {
        let request = terminal.request("INVITE", "sip:2000@203.0.113.10");
        terminal.ua.send(&described(request, offer), PBX)?;
        let invite = pbx.hear("INVITE")?;
        let ok = described(pbx.response(&invite, "200 OK"), answer);
        pbx.answer(&invite, &ok)?;
        terminal.ua.hear("SIP/2.0 200")?;
        let call = Self::new(pbx, terminal, &ok, ["To", "From"], &invite.message)?;
        call.phone_cseq.set(invite.message.cseq().0);
        let ack = described(call.phone_request("ACK"), ack);
        terminal.ua.send(&ack, PBX)?;
        pbx.hear("ACK")?;
        Ok(call)
    }

    /// The PBX calls the phone at `uri`, and the phone answers. INVITE, 200 and ACK have these session descriptions.
    pub fn to_with(
        terminal: &'a Terminal,
        pbx: &'a ScriptedPbx,
        uri: &str,
        [offer, answer, ack]: [&str; 3],
    ) -> Result<Self> {
        let request = described(pbx.request("INVITE", uri, &terminal.aor), offer);
        let invite = pbx.reaches(&terminal.ua, &request, 1)?;
        let tag = format!("phone{}", unique());
        let ok = terminal.response(&invite.message, "200 OK", &tag);
        terminal.ua.send(&described(ok, answer), PBX)?;
        let ok = pbx.hear("SIP/2.0 200")?.message;
        let call = Self::new(pbx, terminal, &ok, ["From", "To"], &ok)?;
        call.pbx_cseq.set(request.cseq().0);
        call.pbx.send(&described(call.pbx_request("ACK"), ack))?;
        terminal.ua.hear("ACK")?;
        Ok(call)
    }

    /// The phone sends a request, and the PBX answers. Request and 200 have these session descriptions.
    pub fn phone_changes(&self, method: &str, [offer, answer]: [&str; 2]) -> Result<()> {
        let request = described(self.phone_request(method), offer);
        self.terminal.ua.send(&request, PBX)?;
        let heard = self.pbx.hear(method)?;
        let ok = described(self.pbx.response(&heard, "200 OK"), answer);
        self.pbx.answer(&heard, &ok)?;
        self.terminal.ua.hear("SIP/2.0 200")?;
        if method == "INVITE" {
            self.phone_acknowledges()?;
        }
        Ok(())
    }

    /// The PBX sends a request, and the phone answers. Request and 200 have these session descriptions.
    pub fn pbx_changes(&self, method: &str, [offer, answer]: [&str; 2]) -> Result<()> {
        let request = described(self.pbx_request(method), offer);
        let heard = self.pbx.reaches(&self.terminal.ua, &request, 1)?;
        let ok = self.terminal.response(&heard.message, "200 OK", "");
        self.terminal.ua.send(&described(ok, answer), PBX)?;
        self.pbx.hear("SIP/2.0 200")?;
        if method == "INVITE" {
            self.pbx_acknowledges()?;
        }
        Ok(())
    }

    /// Returns the PBX's next request.
    pub fn pbx_request(&self, method: &str) -> Message {
        self.pbx_cseq
            .set(self.pbx_cseq.get() + u32::from(method != "ACK"));
        self.pbx
            .ua
            .request(method, &self.target, self.pbx_cseq.get())
            .with("From", &self.pbx_party)
            .with("To", &self.phone_party)
            .with("Call-ID", &self.call_id)
            .with("Contact", format!("<{}>", ScriptedPbx::URI))
    }

    /// Returns the phone's next request.
    pub fn phone_request(&self, method: &str) -> Message {
        self.phone_cseq
            .set(self.phone_cseq.get() + u32::from(method != "ACK"));
        self.terminal
            .ua
            .request(method, ScriptedPbx::URI, self.phone_cseq.get())
            .with("From", &self.phone_party)
            .with("To", &self.pbx_party)
            .with("Call-ID", &self.call_id)
            .with("Contact", &self.terminal.contact)
    }

    /// The PBX sends its next request to the phone's Contact. Returns the request.
    pub fn pbx_sends(&self, method: &str) -> Result<Message> {
        let request = self.pbx_request(method);
        self.pbx.send(&request)?;
        Ok(request)
    }

    /// The PBX sends a request, the phone answers 200, and the PBX gets that. An INVITE is then acknowledged.
    pub fn reaches_phone(&self, method: &str) -> Result<()> {
        self.reaches_phone_at(method, 1)
    }

    /// The same. The request must arrive at transmission `number`, and the ACK at its first.
    pub fn reaches_phone_at(&self, method: &str, number: usize) -> Result<()> {
        let sent = self.pbx_request(method);
        let request = self.pbx.reaches(&self.terminal.ua, &sent, number)?;
        ensure!(
            request.message.field("Call-ID") == sent.field("Call-ID")
                && request.message.field("To") == sent.field("To"),
            "{method} reached the wrong phone"
        );
        self.terminal.respond(&request, "200 OK", "")?;
        self.pbx.hear("SIP/2.0 200")?;
        if method == "INVITE" {
            self.pbx_acknowledges()?;
        }
        Ok(())
    }

    /// The phone sends a request, the PBX answers 200, and the phone gets that. An INVITE is then acknowledged.
    pub fn reaches_pbx(&self, method: &str) -> Result<()> {
        self.reaches_pbx_at(method, 1)
    }

    /// The same. The phone must hear the answer at transmission `number` of its request.
    pub fn reaches_pbx_at(&self, method: &str, number: usize) -> Result<()> {
        let ok = |request: &Heard| self.pbx.response(request, "200 OK");
        let request = self.phone_request(method);
        self.terminal.is_answered(self.pbx, &request, number, ok)?;
        if method == "INVITE" {
            self.phone_acknowledges()?;
        }
        Ok(())
    }

    /// The PBX sends the ACK to a 2xx, and the phone gets it.
    pub fn pbx_acknowledges(&self) -> Result<()> {
        self.pbx_sends("ACK")?;
        self.terminal.ua.hear("ACK").map(drop)
    }

    /// The phone sends the ACK to a 2xx, and the PBX gets it.
    pub fn phone_acknowledges(&self) -> Result<()> {
        self.terminal.ua.send(&self.phone_request("ACK"), PBX)?;
        self.pbx.hear("ACK").map(drop)
    }
}

/// Adds a session description, if it is not empty.
fn described(message: Message, sdp: &str) -> Message {
    if sdp.is_empty() {
        message
    } else {
        message.with_sdp(sdp)
    }
}
