//! What a PBX sends to its trunks, its peers, upstream registrars and other hosts of its networks is not touched, while
//! phones are registered with the same users, ports and private addresses.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, Plan, ScriptedPbx, Terminal,
    capture::{Direction, Packet, Tap},
    lab::{NEIGHBOUR, PBX, PUBLIC_PHONE},
    netns::Netns,
    sip::Message,
};

use crate::scene::{Scene, With, play};

/// The phones are behind a NAT without ALG, and the PBX has a route to their private addresses, as to a VPN.
const PLAN: Plan = Plan {
    phones: 2,
    private_route: true,
    ..Plan::PLAIN_NAT
};

/// A host behind the VPN, with the private address of a phone.
const VPN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 5060);
const ON_LINK: SocketAddrV4 = SocketAddrV4::new(NEIGHBOUR, 5060);

/// Users of the phones. The second is the number of a trunk.
const USERS: [&str; 2] = ["1000", "+493012345"];
const METHODS: [&str; 9] = [
    "OPTIONS",
    "INVITE",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
    "INFO",
    "CANCEL",
];
/// More than a PBX sends of a qualify.
const TRANSMISSIONS: usize = 5;

/// Plays a scenario with and without sipnat, with each kind of PBX. Phones are registered.
fn each(scenario: fn(&Scene<'_>, &ScriptedPbx) -> Result<()>) -> Result<()> {
    for with in [With::Nothing, With::Sipnat] {
        for answers in [Answers::ByVia, Answers::ToSource] {
            play(PLAN, with, |scene| {
                let pbx = ScriptedPbx::start(&scene.lab.pbx, answers, scene.patience())?;
                for (number, user) in USERS.into_iter().enumerate() {
                    let phone = scene.terminal(0, number, user)?;
                    phone.ua.send(&phone.register(), PBX)?;
                    pbx.respond(&pbx.hear("REGISTER")?, "200 OK")?;
                }
                scenario(scene, &pbx)
                    .and_then(|()| arrived_as_sent(scene))
                    .with_context(|| format!("{with:?}, {answers:?}"))
            })?;
        }
    }
    Ok(())
}

/// Each SIP packet that the PBX sent to a host arrived there as it was sent, but for the hop count.
fn arrived_as_sent(scene: &Scene<'_>) -> Result<()> {
    for (tap, host) in [
        (Tap::Public, *PUBLIC_PHONE.ip()),
        (Tap::Neighbour, NEIGHBOUR),
        (Tap::OtherGateway, *VPN.ip()),
    ] {
        let sip = |tap, direction| {
            let mut packets = scene.capture.at(tap, direction);
            packets.retain(|packet| packet.sip().is_some() && *packet.destination.ip() == host);
            packets.iter().map(Packet::without_hop).collect::<Vec<_>>()
        };
        ensure!(
            sip(Tap::Pbx, Direction::Out) == sip(tap, Direction::In),
            "{tap:?} got something else"
        );
    }
    Ok(())
}

/// Requests that name a phone's user, or its address-of-record, at the address of another host.
#[test]
fn requests_of_the_pbx() -> Result<()> {
    each(|scene, pbx| {
        for host in [PUBLIC_PHONE, ON_LINK, VPN] {
            for user in USERS {
                for method in METHODS {
                    let uri = format!("sip:{user}@{host}");
                    let aor = format!("sip:{user}@{}", PBX.ip());
                    let mut names = vec![uri.clone(), format!("sip:hotline@{}", PBX.ip())];
                    if host != VPN {
                        // With the phone's own Contact URI it would be for the phone.
                        names.push(aor);
                    }
                    for to in names {
                        let request = pbx.request(method, &uri, &to);
                        scene.transmits(pbx, &request, &[host; TRANSMISSIONS])?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// A trunk calls and is called. Its number and port are those of a phone.
#[test]
fn calls_of_a_trunk() -> Result<()> {
    each(|scene, pbx| {
        for (netns, local) in [
            (&scene.lab.public_phone, PUBLIC_PHONE),
            (&scene.lab.neighbour, ON_LINK),
        ] {
            for user in USERS {
                let trunk = trunk(scene, netns, local, user)?;
                let uri = format!("sip:{user}@{local}");
                for call in [
                    Call::from(&trunk, pbx)?,
                    Call::to(&trunk, pbx, &uri)?,
                    Call::from(&trunk, pbx)?,
                ] {
                    for method in ["INVITE", "UPDATE"] {
                        call.reaches_phone(method)?;
                        call.reaches_pbx(method)?;
                    }
                    call.reaches_phone("BYE")?;
                }
                trunk.ua.heard_all()?;
            }
        }
        Ok(())
    })
}

/// The PBX registers at an upstream registrar, which calls it.
#[test]
fn an_upstream_registrar() -> Result<()> {
    each(|scene, pbx| {
        for (netns, local) in [
            (&scene.lab.public_phone, PUBLIC_PHONE),
            (&scene.lab.neighbour, ON_LINK),
        ] {
            let provider = trunk(scene, netns, local, USERS[1])?;
            let account = format!("sip:{}@{}", USERS[1], local.ip());
            let register = |cseq: u32| {
                let uri = format!("sip:{local}");
                let mut register = pbx.request("REGISTER", &uri, &account);
                for (name, value) in [
                    ("From", format!("<{account}>;tag=upstream")),
                    ("Call-ID", format!("upstream-{local}")),
                    ("CSeq", format!("{cseq} REGISTER")),
                ] {
                    if let Some(field) = register.field_mut(name) {
                        *field = value;
                    }
                }
                register
            };
            for (cseq, status) in [(1, "401 Unauthorized"), (2, "200 OK"), (3, "200 OK")] {
                let heard = pbx.reaches(&provider.ua, &register(cseq), 1)?;
                provider.respond(&heard, status, "registrar")?;
                pbx.hear(&format!("SIP/2.0 {status}"))?;
            }
            let call = Call::from(&provider, pbx)?;
            call.reaches_phone("INVITE")?;
            call.reaches_phone("BYE")?;
        }
        Ok(())
    })
}

/// A trunk without authentication, or a provider.
fn trunk(scene: &Scene<'_>, netns: &Netns, local: SocketAddrV4, user: &str) -> Result<Terminal> {
    let mut trunk = Terminal::start(netns, local, user, scene.patience())?;
    trunk.aor = format!("sip:{user}@{}", local.ip());
    Ok(trunk)
}

/// The responses that the PBX sends to a host behind the VPN, which has the address of a phone.
#[test]
fn responses_to_a_peer() -> Result<()> {
    each(|scene, pbx| {
        // It comes through the other gateway, and its packets arrive with its own address.
        let gateway = &scene.lab.other_gateway;
        gateway.ip(&format!("addr add {}/32 dev lo", VPN.ip()))?;
        let peer = Terminal::start(gateway, VPN, USERS[0], scene.patience())?;
        for method in ["OPTIONS", "INVITE", "MESSAGE", "SUBSCRIBE"] {
            let request: Message = peer.request(method, "sip:2000@203.0.113.10");
            let answered =
                peer.is_answered(pbx, &request, 1, |request| pbx.response(request, "200 OK"))?;
            ensure!(answered.source == VPN, "it came from {}", answered.source);
        }
        let call = Call::from(&peer, pbx)?;
        call.reaches_phone("INVITE")?;
        call.reaches_pbx("INVITE")?;
        call.reaches_phone("BYE")
    })
}
