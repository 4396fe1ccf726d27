//! An answer that the proxy relays, in which the attacker has written the names of another request. The proxy recognises
//! an answer by its branch alone, or not at all, so it looks like the proxy's own answer to that request.

use std::{io::Write as _, net::TcpStream};

use anyhow::Result;
use nat_test_support::{PBX, sip::Message};

use super::{
    field,
    proxy::{self, PRIVATE, Proxy, STANDARD, WITH_TCP},
    registration::stolen,
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
    let register = stolen(&proxy.victim)?;
    proxy.attacker.send(&register, PBX)?;
    proxy.attacker.hear("SIP/2.0 401")?;
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

/// Likewise over TCP, which sipnat does not see.
#[test]
fn unasked_over_tcp() -> Result<()> {
    let config = STANDARD.replace("BASE", WITH_TCP);
    proxy::attack(&config, PRIVATE, |proxy| {
        for first in [refused, ignored] {
            let register = first(proxy)?;
            let via = format!("SIP/2.0/TCP {PBX};branch=z9hG4bK-unasked");
            let answer = disguised(&via, &register)?.to_string();
            let netns = &proxy.scene.lab.public_phone;
            let mut stream = netns.enter(|| TcpStream::connect(PBX))??;
            stream.write_all(answer.as_bytes())?;
            proxy.attacker.hear("SIP/2.0 200")?;
            proxy.stays()?;
        }
        Ok(())
    })
}
