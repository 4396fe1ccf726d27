//! A SIP application level gateway as in home routers.
//!
//! It runs in user space, behind an NFQUEUE rule in the router's forward path: before the source NAT on the way out,
//! and after its reversal on the way in, where the kernel's own ALG runs, too.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use etherparse::{Ipv4Header, UdpHeader};
use nfq::{Queue, Verdict};

use crate::{
    netns::Netns,
    sip::{DEFAULT_PORT, HostPort, sent_by, uri, uri_host_port},
};

const IDLE: Duration = Duration::from_millis(1);

/// Address that an ALG writes instead of a phone's private address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// The private address stays.
    Keep,
    /// The public address without a port, which means port 5060.
    Host,
    /// The public address with the mapped port, as it should be.
    HostPort,
}

/// Edits of an ALG to the messages of phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alg {
    /// Sent-by of the Via of requests.
    pub via: Rewrite,
    /// Contact of REGISTER.
    pub register_contact: Rewrite,
    /// Contact of all other requests, and of responses.
    pub contact: Rewrite,
}

impl Alg {
    /// No ALG: Via and Contact carry private addresses.
    pub const NONE: Self = Self {
        via: Rewrite::Keep,
        register_contact: Rewrite::Keep,
        contact: Rewrite::Keep,
    };

    /// The public address everywhere, without the mapped port.
    pub const WITHOUT_PORT: Self = Self {
        via: Rewrite::Host,
        register_contact: Rewrite::Host,
        contact: Rewrite::Host,
    };

    /// Right in REGISTER; without the port in the Contact of all else.
    pub const REGISTER_ONLY: Self = Self {
        via: Rewrite::HostPort,
        register_contact: Rewrite::HostPort,
        contact: Rewrite::Host,
    };
}

/// A running ALG, ended when dropped.
#[derive(Debug)]
pub(crate) struct RunningAlg {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RunningAlg {
    /// Puts `alg` into the path of `router`, with `mapping` from private to public addresses.
    pub(crate) fn start(
        alg: Alg,
        router: &Netns,
        mapping: HashMap<Ipv4Addr, SocketAddrV4>,
    ) -> Result<Option<Self>> {
        if alg == Alg::NONE {
            return Ok(None);
        }
        let mut queue = router
            .enter(|| -> std::io::Result<Queue> {
                let mut queue = Queue::open()?;
                queue.bind(0)?;
                queue.set_nonblocking(true);
                Ok(queue)
            })?
            .context("open a netfilter queue")?;
        for port in ["--sport", "--dport"] {
            let sip_port = DEFAULT_PORT.to_string();
            router.run(
                Command::new("iptables")
                    .args([
                        "-t", "mangle", "-A", "FORWARD", "-p", "udp", port, &sip_port,
                    ])
                    .args(["-j", "NFQUEUE", "--queue-num", "0"]),
                "",
            )?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match queue.recv() {
                    Ok(mut message) => {
                        if let Some(packet) = alg.translate_packet(&mapping, message.get_payload())
                        {
                            message.set_payload(packet);
                        }
                        message.set_verdict(Verdict::Accept);
                        let _ = queue.verdict(message);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(IDLE),
                    Err(error) => return eprintln!("the ALG of the router ends: {error}"),
                }
            }
        });
        Ok(Some(Self {
            stop,
            thread: Some(thread),
        }))
    }
}

impl Drop for RunningAlg {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Alg {
    /// Returns the changed IPv4 packet; none if `packet` needs no change.
    fn translate_packet(
        self,
        mapping: &HashMap<Ipv4Addr, SocketAddrV4>,
        packet: &[u8],
    ) -> Option<Vec<u8>> {
        let (mut ip, rest) = Ipv4Header::from_slice(packet).ok()?;
        let (mut udp, payload) = UdpHeader::from_slice(rest).ok()?;
        let text = std::str::from_utf8(payload).ok()?;

        let source = Ipv4Addr::from(ip.source);
        let destination = Ipv4Addr::from(ip.destination);
        let translated = if let Some(&public) = mapping.get(&source) {
            self.outbound(text, SocketAddrV4::new(source, udp.source_port), public)
        } else if let Some(&public) = mapping.get(&destination) {
            inbound(
                text,
                SocketAddrV4::new(destination, udp.destination_port),
                public,
            )
        } else {
            return None;
        };
        if translated == text {
            return None;
        }

        let payload = translated.as_bytes();
        udp.length = u16::try_from(UdpHeader::LEN + payload.len()).ok()?;
        ip.total_len = u16::try_from(ip.header_len()).ok()? + udp.length;
        ip.header_checksum = ip.calc_header_checksum();
        udp.checksum = udp.calc_checksum_ipv4(&ip, payload).ok()?;
        Some([ip.to_bytes().as_slice(), &udp.to_bytes(), payload].concat())
    }

    /// Writes the public address into a message of a phone.
    fn outbound(self, text: &str, private: SocketAddrV4, public: SocketAddrV4) -> String {
        let register = text.starts_with("REGISTER ");
        let contact = if register {
            self.register_contact
        } else {
            self.contact
        };
        let response = text.starts_with("SIP/2.0 ");
        let mut via = if response {
            None
        } else {
            written(self.via, public)
        };
        edit_lines(text, |line| {
            let (name, value) = line.split_once(':')?;
            match name.trim() {
                "Via" | "v" => {
                    let sent_by = sent_by(value).filter(|sent_by| sent_by.host == *private.ip())?;
                    replace(line, sent_by, &via.take()?)
                }
                "Contact" | "m" => {
                    let host =
                        uri_host_port(uri(value)).filter(|host| host.host == *private.ip())?;
                    replace(line, host, &written(contact, public)?)
                }
                _ => None,
            }
        })
    }
}

/// Writes the private address into a message for a phone, so that it recognises its own Via and URI.
fn inbound(text: &str, private: SocketAddrV4, public: SocketAddrV4) -> String {
    let mut first_via = text.starts_with("SIP/2.0 ");
    edit_lines(text, |line| {
        let host = if line.ends_with(" SIP/2.0") {
            uri_host_port(line.split(' ').nth(1)?)?
        } else if let Some(value) = line.strip_prefix("Via:").filter(|_| first_via) {
            first_via = false;
            sent_by(value)?
        } else {
            return None;
        };
        (host.host == *public.ip()).then_some(())?;
        replace(line, host, &private.to_string())
    })
}

fn written(rewrite: Rewrite, public: SocketAddrV4) -> Option<String> {
    match rewrite {
        Rewrite::Keep => None,
        Rewrite::Host => Some(public.ip().to_string()),
        Rewrite::HostPort => Some(public.to_string()),
    }
}

fn replace(line: &str, old: HostPort, new: &str) -> Option<String> {
    let old = match old.port {
        Some(port) => format!("{}:{port}", old.host),
        None => old.host.to_string(),
    };
    line.contains(&old).then(|| line.replacen(&old, new, 1))
}

/// Rewrites the lines of the head of a message for which `edit` returns another one.
fn edit_lines(text: &str, mut edit: impl FnMut(&str) -> Option<String>) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let lines: Vec<Cow<'_, str>> = head
        .split("\r\n")
        .map(|line| edit(line).map_or(Cow::Borrowed(line), Cow::Owned))
        .collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 5060);
    const PUBLIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 49163);

    fn message(start: &str, via: &str, contact: &str) -> String {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK1\r\nContact: <sip:1000@{contact}>;x=1\r\n\r\nbody"
        )
    }

    #[test]
    fn writes_the_slide() {
        let sent = message(
            "INVITE sip:2000@203.0.113.10 SIP/2.0",
            "192.168.1.10:5060",
            "192.168.1.10:5060",
        );
        let expected = message(
            "INVITE sip:2000@203.0.113.10 SIP/2.0",
            "60.17.196.2",
            "60.17.196.2",
        );
        assert_eq!(Alg::WITHOUT_PORT.outbound(&sent, PRIVATE, PUBLIC), expected);
    }

    #[test]
    fn corrects_register_alone() {
        let sent = message(
            "REGISTER sip:203.0.113.10 SIP/2.0",
            "192.168.1.10:5060",
            "192.168.1.10:5060",
        );
        let expected = message(
            "REGISTER sip:203.0.113.10 SIP/2.0",
            "60.17.196.2:49163",
            "60.17.196.2:49163",
        );
        assert_eq!(
            Alg::REGISTER_ONLY.outbound(&sent, PRIVATE, PUBLIC),
            expected
        );
    }

    #[test]
    fn leaves_the_via_of_the_phones_responses() {
        let sent = message("SIP/2.0 200 OK", "203.0.113.10:5060", "192.168.1.10:5060");
        let expected = message("SIP/2.0 200 OK", "203.0.113.10:5060", "60.17.196.2");
        assert_eq!(Alg::WITHOUT_PORT.outbound(&sent, PRIVATE, PUBLIC), expected);
    }

    #[test]
    fn restores_what_the_phone_knows() {
        let request = message(
            "BYE sip:1000@60.17.196.2 SIP/2.0",
            "203.0.113.10:5060",
            "203.0.113.10:5060",
        );
        let expected = message(
            "BYE sip:1000@192.168.1.10:5060 SIP/2.0",
            "203.0.113.10:5060",
            "203.0.113.10:5060",
        );
        assert_eq!(inbound(&request, PRIVATE, PUBLIC), expected);

        let response = message("SIP/2.0 200 OK", "60.17.196.2:49163", "203.0.113.10:5060");
        let expected = message("SIP/2.0 200 OK", "192.168.1.10:5060", "203.0.113.10:5060");
        assert_eq!(inbound(&response, PRIVATE, PUBLIC), expected);
    }
}
