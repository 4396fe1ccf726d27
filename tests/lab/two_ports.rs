//! A terminal at a public address that sends from one port and listens on another: RFC 3261 allows it, and from the
//! outside it looks like a phone behind an ALG that forgets the port. It needs no sipnat, and is as fast with it as without.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, Plan, ScriptedPbx, Terminal, lab::PUBLIC_PHONE, sip::Message,
};

use crate::scene::{Scene, With, play};

/// First port from which it sends.
const SENDING: u16 = 40000;
/// Number of ports from which it sends if it takes a new one each time: more than one scenario has messages.
const PORTS: u16 = 60;
/// Port on which a phone behind a router listens, and which that forwards. The ISP drops 5060.
const FORWARDED: u16 = 5070;

/// Terminal with two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It sends from one port.
    Public,
    /// It sends from a new port each time, and its responses from where it listens.
    PublicNewPorts,
    /// It is behind a router that forwards the port on which it listens.
    Forwarded,
    /// The same, and it sends from a new port each time.
    ForwardedNewPorts,
}

const KINDS: [Kind; 4] = [
    Kind::Public,
    Kind::PublicNewPorts,
    Kind::Forwarded,
    Kind::ForwardedNewPorts,
];

impl Kind {
    /// Starts it. If the PBX responds to the source, it listens there, too.
    fn terminal(self, scene: &Scene<'_>, answers: Answers) -> Result<Terminal> {
        let site = &scene.lab.sites[0];
        let (netns, listening, reached) = match self {
            Self::Public | Self::PublicNewPorts => {
                (&scene.lab.public_phone, PUBLIC_PHONE, PUBLIC_PHONE)
            }
            Self::Forwarded | Self::ForwardedNewPorts => {
                site.forward(0, FORWARDED)?;
                let phone = &site.phones[0];
                let at = |ip: &Ipv4Addr| SocketAddrV4::new(*ip, FORWARDED);
                (&phone.netns, at(phone.private.ip()), at(phone.public.ip()))
            }
        };
        let ports = match self {
            Self::Public | Self::Forwarded => 1,
            Self::PublicNewPorts | Self::ForwardedNewPorts => PORTS,
        };
        let mut terminal = Terminal::start(netns, listening, "1000", scene.patience())?
            .with_contact(format!("<sip:1000@{reached}>"));
        for port in SENDING..SENDING + ports {
            let sending = SocketAddrV4::new(*listening.ip(), port);
            terminal.ua = terminal.ua.sending_from(netns, sending)?;
        }
        if ports > 1 {
            terminal.ua = terminal.ua.answering_where_it_listens();
        }
        if answers == Answers::ToSource {
            terminal.ua = terminal.ua.listening_for_responses();
        }
        Ok(terminal)
    }
}

/// Plays a scenario with each kind of terminal and each kind of PBX.
fn each(with: With, scenario: fn(&Scene<'_>, Kind, Answers) -> Result<()>) -> Result<()> {
    for kind in KINDS {
        for answers in [Answers::ByVia, Answers::ToSource] {
            play(Plan::PLAIN_NAT, with, |scene| {
                scenario(scene, kind, answers).with_context(|| format!("{kind:?}, {answers:?}"))
            })?;
        }
    }
    Ok(())
}

#[test]
fn registered_without_sipnat() -> Result<()> {
    each(With::Nothing, registered)
}

#[test]
fn registered_with_sipnat() -> Result<()> {
    each(With::Sipnat, registered)
}

#[test]
fn registered_and_policy_off() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let address = PUBLIC_PHONE.ip().to_string();
        scene
            .sipnat()?
            .command(&["policy", "set", &address, "off"])?;
        registered(scene, Kind::Public, Answers::ByVia)
    })
}

/// It registers, is qualified and called, and calls. Each message arrives at its first transmission, and none goes
/// anywhere but where the PBX sends it.
fn registered(scene: &Scene<'_>, kind: Kind, answers: Answers) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, answers, scene.patience())?;
    let phone = kind.terminal(scene, answers)?;
    let uri = phone.registers(&pbx)?;
    for round in 0..2 {
        // As some PBXs write To: the address-of-record, or the Contact URI.
        for to in [&phone.aor, &uri] {
            is_qualified(&pbx, &phone, &pbx.request("OPTIONS", &uri, to))?;
        }
        let called = Call::to(&phone, &pbx, &uri)?;
        let calling = Call::from(&phone, &pbx)?;
        for call in [&called, &calling] {
            call.reaches_phone("INVITE")?;
            call.reaches_pbx("INVITE")?;
            call.reaches_phone("UPDATE")?;
        }
        called.reaches_phone("BYE")?;
        calling.reaches_pbx("BYE")?;
        phone
            .registers(&pbx)
            .with_context(|| format!("round {round}"))?;
    }
    phone.ua.heard_all()?;
    if scene.sipnat.is_some() {
        for counter in ["response", "dialog", "contact", "invite"] {
            let redirected = scene.count(&format!("out_redirected_{counter}"))?;
            ensure!(redirected == 0, "{redirected} redirected by {counter}");
        }
    }
    Ok(())
}

/// An OPTIONS of the PBX arrives at its first transmission, and is answered.
fn is_qualified(pbx: &ScriptedPbx, phone: &Terminal, options: &Message) -> Result<()> {
    let heard = pbx.reaches(&phone.ua, options, 1)?;
    phone.respond(&heard, "200 OK", "options")?;
    pbx.hear("SIP/2.0 200").map(drop)
}

#[test]
fn only_calling_without_sipnat() -> Result<()> {
    each(With::Nothing, |scene, kind, answers| {
        only_calls(scene, kind, answers, 1)
    })
}

/// If the PBX responds to the source, the ACK proves that the gateway hears that, just as that of a phone behind an ALG
/// does: the first request of the PBX arrives at its second transmission, and proves where the next must go.
#[test]
fn only_calling_with_sipnat() -> Result<()> {
    each(With::Sipnat, |scene, kind, answers| {
        let first = match answers {
            Answers::ByVia => 1,
            Answers::ToSource => 2,
        };
        only_calls(scene, kind, answers, first)
    })
}

/// A gateway, which does not register, calls twice. The first request of the PBX arrives at transmission `first`.
fn only_calls(scene: &Scene<'_>, kind: Kind, answers: Answers, first: usize) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, answers, scene.patience())?;
    let gateway = kind.terminal(scene, answers)?;
    let call = Call::from(&gateway, &pbx)?;
    call.reaches_phone_at("INVITE", first)?;
    call.reaches_phone("UPDATE")?;
    call.reaches_phone("BYE")?;
    let call = Call::from(&gateway, &pbx).context("the next call")?;
    call.reaches_phone("INVITE").context("the next call")?;
    call.reaches_phone("BYE").context("the next call")?;
    gateway.ua.heard_all()
}
