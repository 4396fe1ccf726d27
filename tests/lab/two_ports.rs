//! A terminal at a public address that sends from one port and listens on another: RFC 3261 allows it, and from the
//! outside it looks like a phone behind an ALG that forgets the port. It needs no sipnat, and is as fast with it as without.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, Plan, ScriptedPbx, Terminal,
    lab::PUBLIC_PHONE,
    sip::{Message, of_same_transaction},
    ua::Heard,
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
    /// It sends from one port, its responses, too.
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
    /// Whether it answers from a port on which it does not listen.
    fn answers_elsewhere(self) -> bool {
        matches!(self, Self::Public | Self::Forwarded)
    }

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
        let ports = if self.answers_elsewhere() { 1 } else { PORTS };
        let mut terminal = Terminal::start(netns, listening, "1000", scene.patience())?
            .with_contact(format!("<sip:1000@{reached}>"));
        for port in SENDING..SENDING + ports {
            let sending = SocketAddrV4::new(*listening.ip(), port);
            terminal.ua = terminal.ua.sending_from(netns, sending)?;
        }
        if !self.answers_elsewhere() {
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

/// Time that a terminal takes for its first answer. The PBX has repeated its request by then (T1).
const SLOW: Duration = Duration::from_millis(300);

/// Scenario of a terminal that takes more than T1 for its first answer.
struct Slow<'a> {
    kind: Kind,
    pbx: ScriptedPbx,
    terminal: Terminal,
    /// Request-URI, and To: the address-of-record or the Contact URI.
    uri: String,
    to: String,
    scene: &'a Scene<'a>,
}

impl Slow<'_> {
    /// The PBX sends a request, which arrives at transmission `first` or earlier. The terminal answers after the next
    /// transmission, if that can go elsewhere.
    fn hears(&self, request: &Message, first: usize) -> Result<Heard> {
        let heard = self.arrives(request, first)?;
        if heard.1 == 1 {
            self.pbx.send(request)?;
        }
        sleep(SLOW);
        self.terminal.ua.forget()?;
        Ok(heard.0)
    }

    /// The PBX sends a message until the terminal hears it, at transmission `first` at the latest. Returns the transmission.
    fn arrives(&self, message: &Message, first: usize) -> Result<(Heard, usize)> {
        for transmission in 1..=first {
            self.pbx.send(message)?;
            if let Some(heard) = self.terminal.ua.listen(SLOW)? {
                ensure!(
                    heard.message.start == message.start,
                    "{} came, not {}",
                    heard.message.start,
                    message.start
                );
                return Ok((heard, transmission));
            }
        }
        anyhow::bail!("{} did not come in {first} transmissions", message.start);
    }

    /// The limit with sipnat, if the terminal answers from where it does not listen. Else each message arrives at once.
    fn late(&self, transmissions: usize) -> usize {
        let elsewhere = self.kind.answers_elsewhere() && self.scene.sipnat.is_some();
        if elsewhere { transmissions } else { 1 }
    }

    fn invite(&self) -> Message {
        self.pbx.request("INVITE", &self.uri, &self.to)
    }

    /// A call that is answered. Its INVITE and its ACK arrive at these transmissions at the latest.
    fn call(&self, invite: usize, ack: usize, rings: bool) -> Result<Call<'_>> {
        let invite = self.hears(&self.invite(), invite)?;
        if rings {
            self.terminal.respond(&invite, "180 Ringing", "slow")?;
            self.pbx.hear("SIP/2.0 180")?;
        }
        self.terminal.respond(&invite, "200 OK", "slow")?;
        let ok = self.pbx.hear("SIP/2.0 200")?.message;
        let call = Call::new(&self.pbx, &self.terminal, &ok, ["From", "To"], &ok)?;
        let request = Message::new(format!("ACK {} SIP/2.0", call.target))
            .with(
                "Via",
                invite.message.field("Via").context("no Via")?.to_owned() + "-ack",
            )
            .with("CSeq", format!("{} ACK", invite.message.cseq().0))
            .with("From", &call.pbx_party)
            .with("To", &call.phone_party)
            .with("Call-ID", &call.call_id);
        self.arrives(&request, ack).context("the ACK")?;
        Ok(call)
    }

    /// A request within a call. It arrives at transmission `first` at the latest.
    fn within(&self, call: &Call<'_>, method: &str, first: usize) -> Result<()> {
        let request = self.hears(&call.pbx_request(method), first)?;
        self.terminal.respond(&request, "200 OK", "")?;
        self.pbx.hear("SIP/2.0 200").map(drop)
    }
}

/// Plays a scenario with slow terminals, with sipnat and without, and with both forms of To.
fn slowly(with: With, scenario: fn(&Slow<'_>) -> Result<()>) -> Result<()> {
    for kind in KINDS {
        for by_uri in [false, true] {
            play(Plan::PLAIN_NAT, with, |scene| {
                let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
                let terminal = kind.terminal(scene, Answers::ByVia)?;
                let uri = terminal.registers(&pbx)?;
                let to = if by_uri { &uri } else { &terminal.aor };
                let to = to.clone();
                let slow = Slow {
                    kind,
                    pbx,
                    terminal,
                    uri,
                    to,
                    scene,
                };
                scenario(&slow).with_context(|| format!("{kind:?}, by the Contact URI: {by_uri}"))
            })?;
        }
    }
    Ok(())
}

/// Makes two tests of a scenario with slow terminals: with sipnat, and without.
macro_rules! slowly {
    ($name:ident) => {
        mod $name {
            #[test]
            fn with_sipnat() -> anyhow::Result<()> {
                super::slowly(super::With::Sipnat, super::$name)
            }

            #[test]
            fn without_sipnat() -> anyhow::Result<()> {
                super::slowly(super::With::Nothing, super::$name)
            }
        }
    };
}

slowly!(calls_answered_slowly);

/// The answer to the first call seems to be one to the second transmission. Its ACK is late once. All that follows arrives
/// at once.
fn calls_answered_slowly(slow: &Slow<'_>) -> Result<()> {
    for (number, rings) in [(1, true), (2, false), (3, true)] {
        let ack = if number == 1 { slow.late(2) } else { 1 };
        (|| {
            let call = slow.call(1, ack, rings)?;
            slow.within(&call, "UPDATE", 1)?;
            slow.within(&call, "BYE", 1)
        })()
        .with_context(|| format!("call {number}"))?;
    }
    Ok(())
}

slowly!(requests_answered_slowly);

/// The answer to the first OPTIONS seems to be one to the second transmission. The next one is late, and no other.
fn requests_answered_slowly(slow: &Slow<'_>) -> Result<()> {
    for (number, limit) in [1, slow.late(2), 1, 1].into_iter().enumerate() {
        let options = slow.pbx.request("OPTIONS", &slow.uri, &slow.to);
        let heard = slow
            .hears(&options, limit)
            .with_context(|| format!("OPTIONS {number}"))?;
        slow.terminal.respond(&heard, "200 OK", "slow")?;
        slow.pbx.hear("SIP/2.0 200")?;
    }
    slow.call(1, 1, false).map(drop)
}

slowly!(calls_refused_slowly);

/// The ACK to a refusal goes where the INVITE went, and to the other port if the terminal repeats the refusal.
fn calls_refused_slowly(slow: &Slow<'_>) -> Result<()> {
    let late = slow.late(2);
    for (number, limit) in [late, late, 1].into_iter().enumerate() {
        let invite = slow.invite();
        let heard = slow
            .hears(&invite, limit.min(number + 1))
            .with_context(|| format!("INVITE {number}"))?;
        slow.terminal.respond(&heard, "486 Busy Here", "slow")?;
        let refusal = slow.pbx.hear("SIP/2.0 486")?.message;
        let to = refusal.field("To").context("no To")?;
        let ack = of_same_transaction(&invite, "ACK", to)?;
        slow.arrives(&ack, late).context("the ACK")?;
    }
    Ok(())
}

slowly!(calls_cancelled);

/// A CANCEL goes where the INVITE went, and to the other port with its next transmission.
fn calls_cancelled(slow: &Slow<'_>) -> Result<()> {
    is_cancelled(slow, "180 Ringing")
}

slowly!(calls_cancelled_before_they_ring);

/// The terminal has sent 100 only. The next call is late once, if that came from the port from which it sends.
fn calls_cancelled_before_they_ring(slow: &Slow<'_>) -> Result<()> {
    is_cancelled(slow, "100 Trying")?;
    slow.hears(&slow.invite(), slow.late(2)).map(drop)
}

/// The PBX calls, and cancels the call once the terminal has sent a provisional response.
fn is_cancelled(slow: &Slow<'_>, status: &str) -> Result<()> {
    let late = slow.late(2);
    let invite = slow.invite();
    let heard = slow.hears(&invite, 1)?;
    slow.terminal.respond(&heard, status, "slow")?;
    slow.pbx.hear("SIP/2.0 1")?;
    let to = invite.field("To").context("no To")?;
    let cancel = of_same_transaction(&invite, "CANCEL", to)?;
    let heard = slow.arrives(&cancel, late).context("the CANCEL")?.0;
    slow.terminal.respond(&heard, "200 OK", "slow")?;
    slow.pbx.hear("SIP/2.0 200").map(drop)
}
