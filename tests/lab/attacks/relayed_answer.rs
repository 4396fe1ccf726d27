//! An answer that the proxy relays, in which the attacker has written the names of another request. The proxy recognises
//! an answer by its branch alone, or not at all, so it looks like the proxy's own answer to that request.

use std::{io::Write as _, net::TcpStream};

use anyhow::{Context as _, Result};
use nat_test_support::{PBX, Plan, sip::Message, ua::Ua};

use super::{
    field, hear_past,
    proxy::{self, PRIVATE, Proxy, STANDARD, WITH_TCP},
    registration::stolen,
    set,
};

/// Returns an acceptance of `request` by somebody whom the proxy asked under the topmost Via `via`.
fn disguised(via: &str, request: &Message) -> Result<Message> {
    Ok(Message::new("SIP/2.0 200 OK")
        .with("Via", via)
        .with("Via", field(request, "Via")?)
        .with("From", field(request, "From")?)
        .with("To", format!("{};tag=friend", field(request, "To")?))
        .with("Call-ID", field(request, "Call-ID")?)
        .with("CSeq", field(request, "CSeq")?)
        .with(
            "Contact",
            format!("{};expires=3600", field(request, "Contact")?),
        ))
}

/// A REGISTER of the attacker that the proxy refuses.
fn refused(proxy: &Proxy<'_>) -> Result<Message> {
    refused_by(proxy, &proxy.attacker)
}

fn refused_by(proxy: &Proxy<'_>, attacker: &Ua) -> Result<Message> {
    let register = stolen(&proxy.victim)?;
    attacker.send(&register, PBX)?;
    attacker.hear("SIP/2.0 401")?;
    Ok(register)
}

/// A REGISTER of the attacker that the proxy ignores.
fn ignored(proxy: &Proxy<'_>) -> Result<Message> {
    let register = stolen(&proxy.victim)?.with("User-Agent", "friendly-scanner");
    proxy.attacker.send(&register, PBX)?;
    Ok(register)
}

/// The proxy sends another REGISTER on to the friend, who answers to the first.
#[test]
fn of_a_friend() -> Result<()> {
    proxy::attack(STANDARD, PRIVATE, |proxy| {
        for first in [refused, ignored] {
            let register = first(proxy)?;
            let mut other = stolen(&proxy.victim)?;
            other.start = "REGISTER sip:198.51.100.8 SIP/2.0".into();
            proxy.attacker.send(&other, PBX)?;
            let relayed = proxy.friend.hear("REGISTER")?.message;
            let answer = disguised(&field(&relayed, "Via")?, &register)?;
            proxy.friend.send(&answer, PBX)?;
            proxy.attacker.hear("SIP/2.0 200")?;
            proxy.stays()?;
        }
        Ok(())
    })
}

/// The proxy relays an answer to a request that it never sent (RFC 3261 16.7, 18.1.2).
#[test]
fn unasked() -> Result<()> {
    proxy::attack(STANDARD, PRIVATE, |proxy| {
        for first in [refused, ignored] {
            let register = first(proxy)?;
            let via = format!("SIP/2.0/UDP {PBX};branch=z9hG4bK-unasked");
            proxy.attacker.send(&disguised(&via, &register)?, PBX)?;
            proxy.attacker.hear("SIP/2.0 200")?;
            proxy.stays()?;
        }
        Ok(())
    })
}

/// sipnat refuses to read what the proxy gets, but not what the proxy relays.
#[test]
fn unasked_and_unreadable() -> Result<()> {
    proxy::attack(STANDARD, PRIVATE, |proxy| {
        let register = ignored(proxy)?;
        let without_branch = format!("SIP/2.0/UDP {PBX}");
        let long = format!("SIP/2.0/UDP {PBX};x={}", "y".repeat(2000));
        for via in [without_branch, long] {
            proxy.attacker.send(&disguised(&via, &register)?, PBX)?;
            proxy.attacker.hear("SIP/2.0 200")?;
            proxy.stays()?;
        }
        Ok(())
    })
}

/// The same over TCP, which sipnat does not see.
#[test]
fn unasked_over_tcp() -> Result<()> {
    proxy::attack(&with_tcp(), PRIVATE, |proxy| {
        for first in [refused, ignored] {
            forges(proxy, &first(proxy)?)?;
            proxy.stays()?;
        }
        Ok(())
    })
}

fn with_tcp() -> String {
    STANDARD.replace("BASE", WITH_TCP)
}

/// The attacker is behind the victim's NAT, where a phone that has started again looks the same.
#[test]
fn unasked_over_tcp_for_a_neighbour() -> Result<()> {
    let plan = Plan {
        phones: 2,
        ..Plan::PLAIN_NAT
    };
    proxy::attack_in(plan, &with_tcp(), PRIVATE, |proxy| {
        let neighbour = proxy.scene.terminal(0, 1, "6666")?;
        let mut register = refused_by(proxy, &neighbour.ua)?;
        let public = proxy.scene.lab.sites[0].phones[1].public;
        let received = format!(";received={};rport={}", public.ip(), public.port());
        register
            .field_mut("Via")
            .context("no Via")?
            .push_str(&received);
        forges_to(proxy, &register, &neighbour.ua)?;
        proxy.reaches_victim()
    })
}

/// The proxy relays an acceptance of this REGISTER that the attacker has written.
fn forges(proxy: &Proxy<'_>, register: &Message) -> Result<()> {
    forges_to(proxy, register, &proxy.attacker)
}

fn forges_to(proxy: &Proxy<'_>, register: &Message, attacker: &Ua) -> Result<()> {
    let via = format!("SIP/2.0/TCP {PBX};branch=z9hG4bK-unasked");
    let answer = disguised(&via, register)?.to_string();
    let netns = &proxy.scene.lab.public_phone;
    let mut stream = netns.enter(|| TcpStream::connect(PBX))??;
    stream.write_all(answer.as_bytes())?;
    hear_past(attacker, "SIP/2.0 200").map(drop)
}

/// The attacker is there before the victim, whose phone was off.
#[test]
fn before_the_victim_registers() -> Result<()> {
    proxy::attack_before(Plan::PLAIN_NAT, &with_tcp(), PRIVATE, |proxy| {
        forges(proxy, &ignored(proxy)?)?;
        proxy::registers(&proxy.victim)?;
        proxy.stays()?;
        forges(proxy, &ignored(proxy)?)?;
        proxy.stays()
    })
}

/// The attacker first removes the victim's contact, or all contacts.
#[test]
fn after_a_removal() -> Result<()> {
    for contact in [None, Some("*")] {
        proxy::attack(&with_tcp(), PRIVATE, |proxy| {
            let mut removal = stolen(&proxy.victim)?.with("User-Agent", "friendly-scanner");
            set(&mut removal, "Expires", "0")?;
            if let Some(contact) = contact {
                set(&mut removal, "Contact", contact)?;
            }
            proxy.attacker.send(&removal, PBX)?;
            let mut accepted = removal.clone();
            set(&mut accepted, "Contact", "<sip:6666@198.51.100.7>")?;
            forges(proxy, &accepted)?;
            proxy.stays().context("after the removal")?;
            forges(proxy, &ignored(proxy)?)?;
            proxy.stays().context("after the claim")
        })
        .with_context(|| format!("{contact:?}"))?;
    }
    Ok(())
}

/// The victim is silent for one call, which the attacker would answer.
#[test]
fn while_the_victim_is_silent() -> Result<()> {
    proxy::attack(&with_tcp(), PRIVATE, |proxy| {
        forges(proxy, &ignored(proxy)?)?;
        proxy.stays()?;
        // Whatever transmission of the proxy comes here.
        if let Ok(heard) = hear_past(&proxy.attacker, "INVITE") {
            let mut busy = Message::response(&heard.message, "486 Busy Here");
            let to = busy.field_mut("To").context("no To")?;
            to.push_str(";tag=attacker");
            proxy.attacker.send(&busy, PBX)?;
        }
        // The victim is back.
        while proxy.victim.ua.heard_all().is_err() {}
        proxy::registers(&proxy.victim)?;
        proxy.stays().context("the victim is back")?;
        forges(proxy, &ignored(proxy)?)?;
        proxy.stays().context("the attacker is back")
    })
}
