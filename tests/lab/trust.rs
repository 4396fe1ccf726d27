//! Attacks by a stranger from its own address: the stranger gains nothing that the PBX does not accept.
//!
//! Each refusal has a counterpart in which the PBX accepts, and then the packet is redirected.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    lab::PUBLIC_PHONE,
    sip::{self, Message},
    ua::{Heard, Ua},
    unique::unique,
};

use crate::scene::{SOON, Scene, With, play};

/// Answer of the PBX to the stranger, if any.
const REFUSALS: [Option<&str>; 5] = [
    None,
    Some("100 Trying"),
    Some("401 Unauthorized"),
    Some("403 Forbidden"),
    Some("481 Call/Transaction Does Not Exist"),
];

/// A registered phone in a call, and a stranger who knows its identifiers.
struct Attack<'a> {
    scene: &'a Scene<'a>,
    pbx: &'a ScriptedPbx,
    victim: &'a Terminal,
    call: Call<'a>,
    stranger: Ua,
}

fn attack(attack: impl FnOnce(&Attack<'_>) -> Result<()>) -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        victim.registers(&pbx)?;
        attack(&Attack {
            scene,
            pbx: &pbx,
            victim: &victim,
            call: Call::from(&victim, &pbx)?,
            stranger: stranger(scene)?,
        })
    })
}

fn stranger(scene: &Scene<'_>) -> Result<Ua> {
    Ua::start(&scene.lab.public_phone, PUBLIC_PHONE, SOON)
}

impl Attack<'_> {
    /// The stranger sends `message` in its own transaction, and the PBX gives this answer.
    fn says(&self, message: Message, answer: Option<&str>) -> Result<Heard> {
        self.stranger.send(&with_own_via(message), PBX)?;
        let heard = self.pbx.hear("")?;
        ensure!(heard.source == PUBLIC_PHONE, "not from the stranger");
        if let Some(answer) = answer {
            self.pbx.respond(&heard, answer)?;
            self.stranger.hear("SIP/2.0")?;
        }
        Ok(heard)
    }

    fn invitation(&self) -> Message {
        let mut invite = self.call.phone_request("INVITE");
        invite
            .field_mut("To")
            .expect("there is one")
            .clone_from(&"<sip:2000@203.0.113.10>".into());
        invite
    }

    /// Fails unless requests to the victim go to the victim, in the call and outside of it.
    fn changed_nothing(&self) -> Result<()> {
        let public = self.scene.lab.phone().public;
        for method in ["INVITE", "UPDATE", "BYE"] {
            self.scene.went_to(&self.call.pbx_sends(method)?, public)?;
        }
        self.scene.went_to(&self.calls_victim()?, public)
    }

    fn calls_victim(&self) -> Result<Message> {
        let uri = sip::uri(&self.victim.contact);
        let invite = self.pbx.request("INVITE", uri, &self.victim.aor);
        self.pbx.send(&invite)?;
        Ok(invite)
    }
}

fn with_own_via(mut message: Message) -> Message {
    let via = format!(
        "SIP/2.0/UDP {PUBLIC_PHONE};branch=z9hG4bK-stranger-{}",
        unique()
    );
    if let Some(field) = message.field_mut("Via") {
        *field = via;
    }
    message
}

#[test]
fn requests_in_the_dialog() -> Result<()> {
    attack(|attack| {
        for answer in REFUSALS {
            for method in ["INVITE", "UPDATE", "INFO", "BYE"] {
                attack.says(attack.call.phone_request(method), answer)?;
                attack
                    .changed_nothing()
                    .context(method)
                    .context(format!("{answer:?}"))?;
            }
        }
        // An accepted message is the phone's, whose mapping may have changed.
        attack.says(attack.call.phone_request("UPDATE"), Some("200 OK"))?;
        attack
            .scene
            .went_to(&attack.call.pbx_sends("UPDATE")?, PUBLIC_PHONE)
    })
}

/// A new dialog does not replace an active one, even if the PBX accepts it: with a tag of its own, or with that of the
/// victim's call, as a friend of the stranger's behind a proxy may write it.
#[test]
fn a_new_invite() -> Result<()> {
    attack(|attack| {
        const ACCEPTED: [&str; 2] = ["180 Ringing", "200 OK"];
        for answer in REFUSALS.into_iter().chain(ACCEPTED.map(Some)) {
            attack.says(attack.invitation(), answer)?;
            attack
                .changed_nothing()
                .with_context(|| format!("{answer:?}"))?;
        }
        ensure!(attack.scene.count("dialog_guarded")? == 0, "the same tag");
        for status in ACCEPTED {
            let invite = attack.says(attack.invitation(), None)?;
            let mut answer = attack.pbx.response(&invite, status);
            answer
                .field_mut("To")
                .context("no To")?
                .clone_from(&attack.call.pbx_party);
            attack.pbx.answer(&invite, &answer)?;
            attack.stranger.hear("SIP/2.0")?;
            attack
                .changed_nothing()
                .with_context(|| format!("{status} with the victim's tag"))?;
        }
        ensure!(attack.scene.count("dialog_guarded")? == 2, "not noticed");
        Ok(())
    })
}

#[test]
fn a_registration() -> Result<()> {
    attack(|attack| {
        for answer in REFUSALS {
            for expires in ["60", "0"] {
                let register = attack.victim.register().with("Expires", expires);
                attack.says(register, answer)?;
                attack
                    .changed_nothing()
                    .with_context(|| format!("{answer:?}"))?;
            }
        }
        // With the victim's Contact, or with all Contacts, for another address-of-record: the PBX may accept that.
        let contact = attack.victim.contact.as_str();
        for (contact, expires) in [(contact, "60"), (contact, "0"), ("*", "0")] {
            let mut register = attack.victim.register().with("Expires", expires);
            contact.clone_into(register.field_mut("Contact").context("no Contact")?);
            for name in ["From", "To"] {
                let field = register.field_mut(name).context("REGISTER has it")?;
                *field = field.replace("1000", "6666");
            }
            attack.says(register, Some("200 OK"))?;
            attack
                .changed_nothing()
                .with_context(|| format!("{contact}, {expires}"))?;
        }

        // For the victim's address-of-record, with its password and under its Call-ID.
        attack.says(
            attack.victim.register().with("Expires", "60"),
            Some("200 OK"),
        )?;
        attack.scene.went_to(&attack.calls_victim()?, PUBLIC_PHONE)
    })
}

/// Responses to requests that the PBX did not send, or not to the stranger.
#[test]
fn responses() -> Result<()> {
    attack(|attack| {
        for status in [
            "180 Ringing",
            "200 OK",
            "481 Call/Transaction Does Not Exist",
        ] {
            let request = attack.call.pbx_sends("INVITE")?;
            let response = attack.victim.response(&request, status, "");
            attack.says(response, None)?;
            attack.changed_nothing().context(status)?;
        }
        ensure!(
            attack.scene.count("in_response_unasked")? == 3,
            "they were asked for"
        );

        // The PBX did send this request to the stranger. The answer names the victim's call.
        let uri = format!("sip:6666@{PUBLIC_PHONE}");
        let options = attack.pbx.request("OPTIONS", &uri, "sip:6666@203.0.113.10");
        attack.pbx.send(&options)?;
        let mut response =
            attack
                .victim
                .response(&attack.stranger.hear("OPTIONS")?.message, "200 OK", "6666");
        for (name, value) in [
            ("Call-ID", &attack.call.call_id),
            ("To", &attack.call.phone_party),
        ] {
            response
                .field_mut(name)
                .context("responses have it")?
                .clone_from(value);
        }
        attack.stranger.send(&response, PBX)?;
        attack.pbx.hear("SIP/2.0 200")?;
        attack.changed_nothing()
    })
}

/// The PBX forks a call to the victim and to the stranger: one Call-ID, and each answers for itself.
#[test]
fn a_forked_call() -> Result<()> {
    attack(|attack| {
        let uri = sip::uri(&attack.victim.contact);
        let call = Call::to(attack.victim, attack.pbx, uri)?;
        let mut invite = call.pbx_request("INVITE");
        invite.start = format!("INVITE sip:6666@{PUBLIC_PHONE} SIP/2.0");
        invite
            .field_mut("To")
            .context("it has one")?
            .clone_from(&"<sip:1000@203.0.113.10>".into());
        attack.pbx.send(&invite)?;
        let mut response =
            attack
                .victim
                .response(&attack.stranger.hear("INVITE")?.message, "200 OK", "");
        response
            .field_mut("To")
            .context("it has one")?
            .clone_from(&call.phone_party);
        attack.stranger.send(&response, PBX)?;
        attack.pbx.hear("SIP/2.0 200")?;
        attack
            .scene
            .went_to(&call.pbx_sends("UPDATE")?, attack.scene.lab.phone().public)
    })
}

/// The stranger repeats a packet of the victim. The answer goes where the PBX sends it, and tells nothing.
#[test]
fn a_repeated_request() -> Result<()> {
    attack(|attack| {
        for request in [
            attack.victim.register().with("Expires", "60"),
            attack.call.phone_request("INVITE"),
        ] {
            attack.victim.ua.send(&request, PBX)?;
            attack.pbx.hear("")?;
            attack.stranger.send(&request, PBX)?;
            let repeated = attack.pbx.hear("")?;
            ensure!(repeated.source == PUBLIC_PHONE, "not the stranger's");
            let ok = attack.pbx.response(&repeated, "200 OK");
            attack.pbx.answer(&repeated, &ok)?;
            attack.scene.went_to(&ok, PUBLIC_PHONE)?;
            attack.changed_nothing()?;
        }
        ensure!(attack.scene.count("in_other_source")? == 2, "not noticed");
        ensure!(attack.scene.count("out_disputed")? == 2, "not left alone");
        Ok(())
    })
}

/// A stranger who subscribes for the victim before the PBX has answered gets no NOTIFY.
#[test]
fn a_subscription() -> Result<()> {
    attack(|attack| {
        let subscribe = || {
            attack
                .victim
                .request("SUBSCRIBE", "sip:2000@203.0.113.10")
                .with("Event", "presence")
        };
        let notify = |subscription: &Heard| {
            let answer = attack.pbx.response(subscription, "202 Accepted");
            let call = Call::new(
                attack.pbx,
                attack.victim,
                &answer,
                ["To", "From"],
                &subscription.message,
            )?;
            // The victim's registration would lead there, too.
            let mut notify = call.pbx_request("NOTIFY");
            notify.start = notify.start.replace("sip:1000@", "sip:presence@");
            attack.pbx.send(&notify)?;
            attack.scene.destination(&notify)
        };
        let request = subscribe();
        attack.victim.ua.send(&request, PBX)?;
        let subscription = attack.pbx.hear("SUBSCRIBE")?;
        attack.says(request, None)?;
        let advertised = attack.scene.lab.phone().private;
        ensure!(
            notify(&subscription)? == advertised,
            "an ambiguous end was used"
        );

        let request = subscribe();
        attack.victim.ua.send(&request, PBX)?;
        let subscription = attack.pbx.hear("SUBSCRIBE")?;
        ensure!(
            notify(&subscription)? == attack.scene.lab.phone().public,
            "the only source was not used"
        );
        Ok(())
    })
}
