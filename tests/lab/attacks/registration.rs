//! A REGISTER for the victim that a friend accepts: the proxy sends it on, and relays the friend's answer.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX, Plan, Terminal,
    lab::PBX_V6,
    netns::receive,
    sip::Message,
    ua::{Heard, Ua},
    unique::unique,
};

use super::{
    ATTACKER, FRIEND, REMAPPED, acceptance, field,
    proxy::{self, PRIVATE, Proxy, RIGHT, STANDARD, WITH_TCP},
    set, via,
};
use crate::scene::{SOON, With, play};

/// A way to make the proxy send a REGISTER on to the friend.
#[derive(Debug, Clone, Copy)]
struct Detour {
    to_tag: &'static str,
    route: &'static [&'static str],
    request_uri: &'static str,
}

const DETOURS: [Detour; 5] = [
    Detour {
        to_tag: ";tag=invented",
        route: &["<sip:198.51.100.8;lr>"],
        request_uri: "sip:198.51.100.8",
    },
    Detour {
        to_tag: ";tag=invented",
        route: &["<sip:203.0.113.10;lr>", "<sip:198.51.100.8;lr>"],
        request_uri: "sip:203.0.113.10",
    },
    Detour {
        to_tag: "",
        route: &["<sip:198.51.100.8;lr>"],
        request_uri: "sip:203.0.113.10",
    },
    Detour {
        to_tag: "",
        route: &["<sip:203.0.113.10;lr>"],
        request_uri: "sip:198.51.100.8",
    },
    Detour {
        to_tag: "",
        route: &[],
        request_uri: "sip:198.51.100.8",
    },
];

/// Longest datagram in one packet of 1500 bytes.
const PACKET: usize = 1472;

/// Returns a REGISTER of the attacker for the victim, without the victim's password.
pub(super) fn stolen(victim: &Terminal) -> Result<Message> {
    let mut register = victim.register().with("Expires", "3600");
    set(&mut register, "Via", via(ATTACKER))?;
    let number = unique();
    set(&mut register, "Call-ID", format!("{number}@attacker"))?;
    let from = format!("<{}>;tag={number}", victim.aor);
    set(&mut register, "From", from)?;
    Ok(register)
}

impl Detour {
    fn take(self, proxy: &Proxy<'_>) -> Result<()> {
        let mut register = stolen(&proxy.victim)?;
        register.start = format!("REGISTER {} SIP/2.0", self.request_uri);
        let to = register.field_mut("To").context("no To")?;
        to.push_str(self.to_tag);
        for route in self.route {
            register.push("Route", *route);
        }
        proxy.attacker.send(&register, PBX)?;
        let relayed = proxy.friend.hear("REGISTER")?;
        proxy.friend.send(&acceptance(&relayed), PBX)?;
        proxy.attacker.hear("SIP/2.0 200")?;
        proxy.reaches_victim()
    }
}

#[test]
fn accepted_by_a_friend() -> Result<()> {
    for contact in [PRIVATE, RIGHT] {
        proxy::attack(STANDARD, contact, |proxy| {
            for detour in DETOURS {
                detour.take(proxy).with_context(|| format!("{detour:?}"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The attacker sends a REGISTER, which the proxy sends on over TCP, where sipnat does not see it. The friend accepts it.
fn accept_over_tcp(proxy: &Proxy<'_>, attacker: &Ua, register: &Message) -> Result<()> {
    let friends = &proxy.scene.lab.public_phone;
    let friend = friends.enter(|| TcpListener::bind(FRIEND))??;
    attacker.send(register, PBX)?;
    let (mut stream, _) = friend.accept()?;
    stream.set_read_timeout(Some(SOON))?;
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer)?;
    let message = Message::parse(&buffer[..length]).context("REGISTER")?;
    let relayed = Heard {
        message,
        source: PBX,
    };
    stream.write_all(acceptance(&relayed).to_string().as_bytes())?;
    attacker.hear("SIP/2.0 200").map(drop)
}

#[test]
fn accepted_over_tcp() -> Result<()> {
    let config = STANDARD.replace("BASE", WITH_TCP);
    proxy::attack(&config, PRIVATE, |proxy| {
        let mut register = stolen(&proxy.victim)?;
        register.push("Route", "<sip:198.51.100.8;transport=tcp;lr>");
        accept_over_tcp(proxy, &proxy.attacker, &register)?;
        proxy.stays()
    })
}

/// Request-URIs and Routes that lead a proxy to the friend by TCP.
const DETOURS_OVER_TCP: [(&str, &[&str]); 4] = [
    ("sip:198.51.100.8;transport=tcp", &[]),
    ("sip:203.0.113.10", &["<sip:198.51.100.8;transport=tcp;lr>"]),
    (
        "sip:203.0.113.10",
        &[
            "<sip:203.0.113.10;lr>",
            "<sip:198.51.100.8;transport=tcp;lr>",
        ],
    ),
    (
        "sip:203.0.113.10",
        &["<sip:203.0.113.10;lr>, <sip:198.51.100.8;transport=tcp;lr>"],
    ),
];

/// The attacker is behind the victim's NAT, and looks like the victim after a restart. The proxy sends his REGISTER on.
#[test]
fn accepted_over_tcp_for_a_neighbour() -> Result<()> {
    let config = STANDARD.replace("BASE", WITH_TCP);
    let plan = Plan {
        phones: 2,
        ..Plan::PLAIN_NAT
    };
    for (index, (uri, routes)) in DETOURS_OVER_TCP.into_iter().enumerate() {
        proxy::attack_in(plan, &config, PRIVATE, |proxy| {
            let neighbour = proxy.scene.terminal(0, 1, "6666")?;
            let mut register = stolen(&proxy.victim)?;
            register.start = format!("REGISTER {uri} SIP/2.0");
            for route in routes {
                register.push("Route", *route);
            }
            accept_over_tcp(proxy, &neighbour.ua, &register)?;
            proxy.reaches_victim()?;
            ensure!(
                proxy.scene.count("register_other_domain")? == 1,
                "not counted"
            );
            Ok(())
        })
        .with_context(|| format!("detour {index}"))?;
    }
    Ok(())
}

/// The proxy sends the REGISTER on from another socket: it has IPv4 and IPv6.
#[test]
fn accepted_over_ipv6() -> Result<()> {
    let plan = Plan {
        phones: 2,
        ipv6: true,
        ..Plan::PLAIN_NAT
    };
    let config = STANDARD.replace("BASE", &format!("BASE\nlisten=udp:[{PBX_V6}]:5060"));
    proxy::attack_in(plan, &config, PRIVATE, |proxy| {
        let phone = &proxy.scene.lab.sites[0].phones[1];
        let friend = phone
            .netns
            .udp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5060)))?;
        friend.set_read_timeout(Some(SOON))?;
        // Opens a mapping of the friend's NAT.
        friend.send_to(b"\r\n\r\n", (PBX_V6, 5060))?;
        let mut register = stolen(&proxy.victim)?;
        register.push("Route", format!("<sip:{};lr>", phone.public_v6));
        proxy.attacker.send(&register, PBX)?;
        let mut buffer = [0; 4096];
        let (length, source) = receive(&friend, &mut buffer).context("REGISTER")?;
        let message = Message::parse(&buffer[..length]).context("REGISTER")?;
        let relayed = Heard {
            message,
            source: PBX,
        };
        friend.send_to(acceptance(&relayed).to_string().as_bytes(), source)?;
        proxy.attacker.hear("SIP/2.0 200")?;
        proxy.stays()
    })
}

/// The proxy sends the REGISTER on in fragments, of which none has all headers.
#[test]
fn accepted_in_fragments() -> Result<()> {
    proxy::attack(STANDARD, PRIVATE, |proxy| {
        let short = stolen(&proxy.victim)?;
        let padded = |length: usize| -> Result<Message> {
            let mut register = Message::new("REGISTER sip:198.51.100.8 SIP/2.0")
                .with("Via", field(&short, "Via")?)
                .with("Subject", "x".repeat(length));
            for name in ["Max-Forwards", "CSeq", "From", "To", "Call-ID", "Contact"] {
                register.push(name, field(&short, name)?);
            }
            Ok(register)
        };
        // With the proxy's Via it does not fit any more.
        let length = PACKET - padded(0)?.to_string().len();
        let register = padded(length)?;
        proxy.attacker.send(&register, PBX)?;
        let relayed = proxy.friend.hear("REGISTER")?;
        proxy.friend.send(&acceptance(&relayed), PBX)?;
        proxy.attacker.hear("SIP/2.0 200")?;
        ensure!(
            proxy.scene.count("out_fragment")? > 0,
            "it was in one piece"
        );
        proxy.stays()
    })
}

/// The counterpart: the victim registers again from another mapping.
#[test]
fn of_the_victim_itself() -> Result<()> {
    proxy::attack(STANDARD, PRIVATE, |proxy| {
        proxy.scene.lab.sites[0].remap(0, REMAPPED)?;
        proxy::registers(&proxy.victim)?;
        proxy.reaches(REMAPPED)
    })
}

/// A PBX that is no proxy accepts a REGISTER of its own account with an invented To-tag. There is no such dialog, so it
/// moves nothing.
#[test]
fn with_a_to_tag() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        victim.registers(&pbx)?;
        let attacker = super::attacker(scene)?;
        let mut register = stolen(&victim)?;
        register
            .field_mut("To")
            .context("no To")?
            .push_str(";tag=invented");
        attacker.send(&register, PBX)?;
        let heard = pbx.hear("REGISTER")?;
        pbx.answer(&heard, &acceptance(&heard))?;
        attacker.hear("SIP/2.0 200")?;
        let call = super::calls(&pbx, &victim)?;
        scene.went_to(&call, scene.lab.phone().public)?;
        ensure!(scene.count("register_not_own")? == 1, "not counted");
        Ok(())
    })
}
