//! A standard proxy and registrar, with a victim that is registered there.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX, Plan, Terminal,
    kamailio::Kamailio,
    lab::NEIGHBOUR,
    sip::{Message, of_same_transaction},
    ua::Ua,
    unique::unique,
};

use super::{attacker, field, friend, hear_past, sent_on};
use crate::scene::{SOON, Scene, With, play};

/// As Kamailio's default configuration where it registers and relays: REGISTER needs a password, a request with a Route
/// or to another host is sent on, and known scanners get no answer.
pub(super) const STANDARD: &str = r#"
debug=2
children=2
BASE
modparam("registrar", "default_expires", 60)

request_route {
    force_rport();
    if ($ua =~ "friendly|scanner|sipcli|sipvicious") exit;
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    t_check_trans();
    if (loose_route() || uri != myself) {
        t_relay();
        exit;
    }
    if (has_totag()) {
        if (is_method("ACK")) {
            if (t_check_trans()) t_relay();
        } else {
            sl_send_reply("404", "Not Here");
        }
        exit;
    }
    if (is_method("REGISTER")) {
        if (!is_present_hf("Authorization")) {
            append_to_reply("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"1\"\r\n");
            sl_send_reply("401", "Unauthorized");
            exit;
        }
        save("location");
        exit;
    }
    record_route();
    if (!lookup("location")) {
        sl_send_reply("404", "Not Found");
        exit;
    }
    t_relay();
}
"#;

/// Base of a configuration with TCP, as the default one has it.
pub(super) const WITH_TCP: &str = "BASE\ndisable_tcp=no\nlisten=tcp:203.0.113.10:5060";

/// Contact of the victim: its private address.
pub(super) const PRIVATE: &str = "<sip:1000@192.168.1.10:5060>";
/// Contact of the victim: the address from which its packets come.
pub(super) const RIGHT: &str = "<sip:1000@60.17.196.2:49163>";

/// A phone registers with its password.
pub(super) fn registers(phone: &Terminal) -> Result<()> {
    let register = phone
        .register()
        .with("Authorization", "Digest username=\"1000\"")
        .with("Expires", "60");
    phone.ua.send(&register, PBX)?;
    phone.ua.hear("SIP/2.0 200").map(drop)
}

/// A proxy with a victim, a caller on the proxy's subnet, an attacker and a friend.
pub(super) struct Proxy<'a> {
    pub(super) scene: &'a Scene<'a>,
    _kamailio: Kamailio,
    pub(super) victim: Terminal,
    caller: Ua,
    pub(super) attacker: Ua,
    pub(super) friend: Ua,
}

/// Plays an attack on a victim that has this Contact, and is registered and reachable.
pub(super) fn attack(
    config: &str,
    contact: &str,
    attack: impl FnOnce(&Proxy<'_>) -> Result<()>,
) -> Result<()> {
    attack_in(Plan::PLAIN_NAT, config, contact, attack)
}

/// The same in a lab of this plan.
pub(super) fn attack_in(
    plan: Plan,
    config: &str,
    contact: &str,
    attack: impl FnOnce(&Proxy<'_>) -> Result<()>,
) -> Result<()> {
    attack_before(plan, config, contact, |proxy| {
        registers(&proxy.victim)?;
        proxy.reaches_victim().context("before the attack")?;
        attack(proxy)
    })
}

/// Plays an attack on a victim that has not registered yet.
pub(super) fn attack_before(
    plan: Plan,
    config: &str,
    contact: &str,
    attack: impl FnOnce(&Proxy<'_>) -> Result<()>,
) -> Result<()> {
    play(plan, With::Sipnat, |scene| {
        attack(&Proxy {
            scene,
            _kamailio: Kamailio::with(&scene.lab.pbx, config, 32)?,
            victim: scene.terminal(0, 0, "1000")?.with_contact(contact),
            caller: Ua::start(
                &scene.lab.neighbour,
                SocketAddrV4::new(NEIGHBOUR, 5060),
                SOON,
            )?,
            attacker: attacker(scene)?,
            friend: friend(scene)?,
        })
    })
    .with_context(|| format!("a victim with Contact {contact}"))
}

impl Proxy<'_> {
    /// The caller calls the victim. Fails unless the proxy's first transmission goes to the victim, or where the proxy sends
    /// it.
    pub(super) fn stays(&self) -> Result<()> {
        let went = sent_on(self.scene, &self.call()?)?;
        let host = self.scene.lab.phone();
        ensure!(
            [host.private, host.public].contains(&went),
            "the call went to {went}"
        );
        Ok(())
    }

    /// The caller calls the victim, who is busy. Fails unless the proxy's first transmission reaches the victim.
    pub(super) fn reaches_victim(&self) -> Result<()> {
        self.reaches(self.scene.lab.phone().public)
    }

    /// The same if the victim's NAT maps it to this address.
    pub(super) fn reaches(&self, public: SocketAddrV4) -> Result<()> {
        let invite = self.call()?;
        let went = sent_on(self.scene, &invite)?;
        ensure!(went == public, "the call went to {went}, not {public}");
        let heard = hear_past(&self.victim.ua, "INVITE")?;
        self.victim.respond(&heard, "486 Busy Here", "busy")?;
        hear_past(&self.victim.ua, "ACK")?;
        let busy = hear_past(&self.caller, "SIP/2.0 486")?.message;
        let ack = of_same_transaction(&invite, "ACK", &field(&busy, "To")?)?;
        self.caller.send(&ack, PBX)
    }

    fn call(&self) -> Result<Message> {
        let number = unique();
        let invite = self
            .caller
            .request("INVITE", &self.victim.aor, number)
            .with("From", format!("<sip:caller@{NEIGHBOUR}>;tag={number}"))
            .with("To", format!("<{}>", self.victim.aor))
            .with("Call-ID", format!("call-{number}@caller"))
            .with("Contact", format!("<sip:caller@{NEIGHBOUR}>"));
        self.caller.send(&invite, PBX)?;
        Ok(invite)
    }
}
