//! A forked call: somebody who was rung and did not answer knows its Call-ID and the caller's tag.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX, Plan, Terminal,
    kamailio::Kamailio,
    lab::NEIGHBOUR,
    sip::{Message, uri},
    ua::Ua,
    unique::unique,
};

use super::{
    ATTACKER, REMAPPED, acceptance, all_sent_on, field, friend, hear_past,
    proxy::{STANDARD, registers},
    public_host, sent_on, via,
};
use crate::scene::{SOON, Scene, With, play};

const GROUP: &str = "3000";
/// A caller with a public address.
const PUBLIC_CALLER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 9), 5060);

/// A caller, and two phones of a group: one answers, and the attacker's does not.
struct Group<'a> {
    scene: &'a Scene<'a>,
    _kamailio: Kamailio,
    caller: Terminal,
    /// Source of the caller's packets.
    address: SocketAddrV4,
    /// Whether that is its own address.
    is_public: bool,
    answering: Terminal,
    attacker: Terminal,
    friend: Ua,
}

/// A dialog between the caller and the phone that answered.
struct Dialog {
    invite: Message,
    /// To with the tag of the phone that answered.
    answered: String,
    record_route: String,
}

impl<'a> Group<'a> {
    fn behind_nat(scene: &'a Scene<'a>) -> Result<Self> {
        let caller = scene.terminal(0, 0, "1000")?;
        Self::new(scene, caller, scene.lab.phone().public)
    }

    fn public(scene: &'a Scene<'a>) -> Result<Self> {
        let address = public_host(scene, PUBLIC_CALLER)?;
        let caller = Terminal::start(&scene.lab.public_phone, address, "1000", SOON)?;
        Self::new(scene, caller, address)
    }

    fn new(scene: &'a Scene<'a>, caller: Terminal, address: SocketAddrV4) -> Result<Self> {
        let kamailio = Kamailio::with(&scene.lab.pbx, STANDARD, 32)?;
        let at = SocketAddrV4::new(NEIGHBOUR, 5060);
        let answering = Terminal::start(&scene.lab.neighbour, at, GROUP, SOON)?;
        let attacker = Terminal::start(&scene.lab.public_phone, ATTACKER, GROUP, SOON)?;
        registers(&answering)?;
        registers(&attacker)?;
        Ok(Self {
            scene,
            _kamailio: kamailio,
            caller,
            address,
            is_public: address == PUBLIC_CALLER,
            answering,
            attacker,
            friend: friend(scene)?,
        })
    }

    fn invitation(&self) -> Message {
        let group = format!("sip:{GROUP}@203.0.113.10");
        self.caller.request("INVITE", &group)
    }

    /// The caller calls the group. While both phones ring, `ringing` happens; then one answers with this tag.
    fn call(
        &self,
        invite: Message,
        tag: &str,
        ringing: impl FnOnce(&Message) -> Result<()>,
    ) -> Result<Dialog> {
        self.caller.ua.send(&invite, PBX)?;
        let theirs = self.attacker.ua.hear("INVITE")?;
        self.attacker.respond(&theirs, "180 Ringing", "attacker")?;
        hear_past(&self.caller.ua, "SIP/2.0 180")?;
        let ours = hear_past(&self.answering.ua, "INVITE")?;
        ringing(&invite)?;
        self.answering.respond(&ours, "200 OK", tag)?;
        let ok = hear_past(&self.caller.ua, "SIP/2.0 200")?.message;
        let cancel = hear_past(&self.attacker.ua, "CANCEL")?;
        self.attacker.respond(&cancel, "200 OK", "attacker")?;
        self.attacker
            .respond(&theirs, "487 Request Terminated", "attacker")?;
        hear_past(&self.attacker.ua, "ACK")?;
        let dialog = Dialog {
            answered: field(&ok, "To")?,
            record_route: field(&ok, "Record-Route")?,
            invite,
        };
        let ack = self.of_caller(&dialog, "ACK")?;
        self.caller.ua.send(&ack, PBX)?;
        hear_past(&self.answering.ua, "ACK")?;
        Ok(dialog)
    }

    /// Returns a request of the caller to the phone that answered.
    fn of_caller(&self, dialog: &Dialog, method: &str) -> Result<Message> {
        let cseq = match method {
            "ACK" => dialog.invite.cseq().0,
            _ => unique(),
        };
        let request = self
            .caller
            .ua
            .request(method, uri(&self.answering.contact), cseq)
            .with("Route", &dialog.record_route)
            .with("From", field(&dialog.invite, "From")?)
            .with("To", &dialog.answered)
            .with("Call-ID", dialog.invite.call_id())
            .with("Contact", &self.caller.contact);
        Ok(request)
    }

    /// Returns a request of the phone that answered to the caller.
    fn of_answering(&self, dialog: &Dialog, method: &str) -> Result<Message> {
        let request = self
            .answering
            .ua
            .request(method, uri(&self.caller.contact), unique())
            .with("Route", &dialog.record_route)
            .with("From", &dialog.answered)
            .with("To", field(&dialog.invite, "From")?)
            .with("Call-ID", dialog.invite.call_id())
            .with("Contact", &self.answering.contact);
        Ok(request)
    }

    /// Fails unless requests of the phone that answered reach the caller at this address with the proxy's first
    /// transmission. A public caller answers the second one, which might go to another address.
    fn reach_caller(&self, dialog: &Dialog, address: SocketAddrV4) -> Result<()> {
        for method in ["INFO", "UPDATE", "INVITE"] {
            let request = self.of_answering(dialog, method)?;
            self.answering.ua.send(&request, PBX)?;
            let went = sent_on(self.scene, &request)?;
            ensure!(went == address, "{method} went to {went}, not {address}");
            let mut heard = hear_past(&self.caller.ua, method)?;
            if self.is_public {
                heard = hear_past(&self.caller.ua, method)?;
                let went = all_sent_on(self.scene, &request);
                let stays = went.iter().all(|place| *place == address);
                ensure!(stays, "{method} went to {went:?}");
            }
            self.caller.respond(&heard, "200 OK", "")?;
            hear_past(&self.answering.ua, "SIP/2.0 200")?;
        }
        Ok(())
    }

    /// The attacker sends a request in the caller's name, and the friend accepts it.
    fn intrudes(&self, invite: &Message, method: &str, to_tag: &str) -> Result<()> {
        let mut request = Message::new(format!("{method} sip:198.51.100.8 SIP/2.0"))
            .with("Via", via(ATTACKER))
            .with("Max-Forwards", "70")
            .with("Route", "<sip:198.51.100.8;lr>")
            .with("CSeq", format!("{} {method}", unique()));
        for name in ["From", "To", "Call-ID", "Contact"] {
            request.push(name, field(invite, name)?);
        }
        let to = request.field_mut("To").context("no To")?;
        to.push_str(to_tag);
        self.attacker.ua.send(&request, PBX)?;
        let relayed = hear_past(&self.friend, method)?;
        self.friend.send(&acceptance(&relayed), PBX)?;
        hear_past(&self.attacker.ua, "SIP/2.0 200")?;
        Ok(())
    }
}

/// Requests in the caller's name, with and without an invented To-tag, while the phones ring and afterwards.
fn attack(group: &Group<'_>) -> Result<()> {
    let intrude = |invite: &Message| -> Result<()> {
        for method in ["INFO", "UPDATE", "INVITE", "SUBSCRIBE"] {
            for to_tag in ["", ";tag=invented", ";tag=attacker"] {
                group
                    .intrudes(invite, method, to_tag)
                    .with_context(|| format!("{method} {to_tag}"))?;
            }
        }
        Ok(())
    };
    let dialog = group.call(group.invitation(), "answering", intrude)?;
    group.reach_caller(&dialog, group.address)?;
    intrude(&dialog.invite)?;
    group.reach_caller(&dialog, group.address)
}

#[test]
fn by_one_who_was_rung() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        attack(&Group::behind_nat(scene)?)
    })
}

#[test]
fn by_one_who_was_rung_by_a_public_caller() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        attack(&Group::public(scene)?)
    })
}

/// The counterpart: a request of the caller itself, after its mapping has changed.
#[test]
fn the_caller_itself() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let group = Group::behind_nat(scene)?;
        let dialog = group.call(group.invitation(), "answering", |_| Ok(()))?;
        scene.lab.sites[0].remap(0, REMAPPED)?;
        let update = group.of_caller(&dialog, "UPDATE")?;
        group.caller.ua.send(&update, PBX)?;
        let heard = hear_past(&group.answering.ua, "UPDATE")?;
        group.answering.respond(&heard, "200 OK", "")?;
        hear_past(&group.caller.ua, "SIP/2.0 200")?;
        group.reach_caller(&dialog, REMAPPED)
    })
}
