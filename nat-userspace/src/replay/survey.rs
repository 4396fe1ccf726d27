//! A first reading of a capture: what is in it, and which address is the PBX.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, bail};
use nat_common::{
    bytes::Source as _,
    datagram::{DatagramKind, classify},
    sip,
};

use crate::host::capture::{self, End, Ip, Link};

/// Contents of a capture.
#[derive(Debug)]
pub(super) struct Survey {
    /// Number of packets.
    pub(super) packets: usize,
    /// Link layers.
    pub(super) links: BTreeSet<Link>,
    /// Time of the first packet that has one, and the latest time.
    pub(super) times: Option<(u64, u64)>,
    /// End of the file.
    pub(super) end: End,
    /// Number of packets of which the file holds a part.
    cut: usize,
    /// Number of SIP messages from or to a SIP port.
    messages: usize,
    /// Number of those that an address sends from a SIP port, or gets there.
    ends: BTreeMap<IpAddr, usize>,
    /// Number of packets from or to an address.
    all_ends: BTreeMap<IpAddr, usize>,
    /// Number of SIP messages that have no SIP port, by their ports.
    other_ports: BTreeMap<u16, usize>,
}

impl Survey {
    /// Reads a capture for a PBX with these SIP ports.
    ///
    /// # Errors
    /// If the file is malformed.
    pub(super) fn of(file: impl Read + Send, ports: &[u16]) -> Result<Self> {
        let mut survey = Self {
            packets: 0,
            links: BTreeSet::new(),
            times: None,
            end: End::Whole,
            cut: 0,
            messages: 0,
            ends: BTreeMap::new(),
            all_ends: BTreeMap::new(),
            other_ports: BTreeMap::new(),
        };
        survey.end = capture::read(file, |packet| {
            survey.packets += 1;
            survey.cut += usize::from(!packet.is_whole());
            survey.links.insert(packet.link);
            if let Some(time) = packet.time {
                let (first, last) = survey.times.unwrap_or((time, time));
                survey.times = Some((first, last.max(time)));
            }
            if let Some(frame) = packet.link.to_ethernet(packet.frame, false)
                && let Some(ip) = Ip::of(&frame)
            {
                survey.add(&ip, ports);
            }
            Ok(())
        })?;
        Ok(survey)
    }

    fn add(&mut self, ip: &Ip<'_>, ports: &[u16]) {
        let ends = ip.ends();
        for addr in BTreeSet::from(ends.map(|end| end.ip())) {
            *self.all_ends.entry(addr).or_default() += 1;
        }
        if !ip.udp.is_some_and(|(_, payload)| is_sip(payload)) {
            return;
        }
        let with_port = ends.iter().filter(|end| ports.contains(&end.port()));
        let with_port: BTreeSet<IpAddr> = with_port.map(SocketAddr::ip).collect();
        if with_port.is_empty() {
            for port in BTreeSet::from(ends.map(|end| end.port())) {
                *self.other_ports.entry(port).or_default() += 1;
            }
            return;
        }
        self.messages += 1;
        for addr in with_port {
            *self.ends.entry(addr).or_default() += 1;
        }
    }

    /// Returns the PBX: the one address that is an end of every SIP message, at a SIP port. Also the number of messages.
    ///
    /// # Errors
    /// If there is none, or it could be several.
    pub(super) fn guess(&self, ports: &[u16]) -> Result<(IpAddr, usize)> {
        let names = ports.iter().map(u16::to_string).collect::<Vec<_>>();
        let port = format!("port {}", names.join(" or "));
        let most = self.other_ports.iter().max_by_key(|(_, count)| **count);
        if let Some((other, count)) = most.filter(|(_, count)| **count > self.messages) {
            bail!(
                "{} SIP messages are from or to {port}, and {count} from or to port {other}: name the PBX's port, as in --port {other}",
                self.messages
            );
        }
        if self.messages == 0 {
            let cut = match self.cut {
                0 => String::new(),
                cut => format!(
                    "; it holds only a part of {cut} packets (tcpdump -s 0 captures whole ones)"
                ),
            };
            bail!("no SIP message over UDP in the capture{cut}");
        }
        let of_all: Vec<IpAddr> = self
            .ends
            .iter()
            .filter(|(_, count)| **count == self.messages)
            .map(|(addr, _)| *addr)
            .collect();
        if let [addr] = of_all[..] {
            return Ok((addr, self.messages));
        }
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort_by_key(|(_, count)| Reverse(**count));
        let shown = ends.iter().take(5);
        let shown: Vec<String> = shown
            .map(|(addr, count)| format!("{addr} ({count})"))
            .collect();
        let more = if ends.len() > shown.len() {
            ", ..."
        } else {
            ""
        };
        bail!(
            "which address is the PBX? Name it with --pbx. At {port}, of {} SIP messages: {}{more}",
            self.messages,
            shown.join(", ")
        )
    }

    /// Checks that packets come from or go to one of these addresses.
    ///
    /// # Errors
    /// If none does.
    pub(super) fn has_any(&self, pbxs: &[IpAddr]) -> Result<()> {
        if pbxs.iter().any(|pbx| self.all_ends.contains_key(pbx)) {
            return Ok(());
        }
        let mut ends: Vec<_> = self.all_ends.iter().collect();
        ends.sort_by_key(|(_, count)| Reverse(**count));
        let ends = ends.iter().take(5).map(|(addr, _)| addr.to_string());
        let ends: Vec<String> = ends.collect();
        bail!(
            "no packet of the capture is from or to the addresses of --pbx; the most are from or to {}",
            ends.join(", ")
        )
    }
}

/// Whether a payload is a SIP message that can be read.
fn is_sip(payload: &[u8]) -> bool {
    let kind = classify(payload.len() as u32, payload.word(0));
    kind == DatagramKind::Sip && sip::read(payload).is_ok()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::host::capture::Writer;

    const SIP: &[u8] =
        b"BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\r\n";

    /// The last byte of an address, and a port.
    type Place = (u8, u16);

    /// Reads a capture of these datagrams.
    fn survey(datagrams: &[(Place, Place, &[u8])], missing: usize) -> Survey {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, false).unwrap();
        for ((from, from_port), (to, to_port), payload) in datagrams {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv4([192, 0, 2, *from], [192, 0, 2, *to], 64)
                .udp(*from_port, *to_port)
                .write(&mut frame, payload)
                .unwrap();
            let held = frame.len() - missing;
            writer.write(0, &frame[..held], missing).unwrap();
        }
        writer.finish().unwrap();
        Survey::of(&file[..], &[5060]).unwrap()
    }

    #[test]
    fn the_pbx_is_an_end_of_every_message() {
        const PBX: Place = (10, 5060);
        for (datagrams, expected) in [
            (&[((7, 49163), PBX, SIP), (PBX, (7, 49163), SIP)][..], Ok(2)),
            // The phone's advertised address has the port, too.
            (&[((7, 49163), PBX, SIP), (PBX, (7, 5060), SIP)], Ok(2)),
            (
                &[
                    ((7, 5060), PBX, SIP),
                    (PBX, (8, 5060), SIP),
                    (PBX, (9, 1), b"OK"),
                ],
                Ok(2),
            ),
            (
                &[((7, 5060), PBX, SIP)],
                Err("At port 5060, of 1 SIP messages: 192.0.2.7 (1), 192.0.2.10 (1)"),
            ),
            (
                &[
                    ((7, 1), PBX, SIP),
                    ((7, 1), PBX, SIP),
                    ((7, 1), (11, 5060), SIP),
                ],
                Err("of 3 SIP messages: 192.0.2.10 (2), 192.0.2.11 (1)"),
            ),
            (&[], Err("no SIP message over UDP")),
            (&[(PBX, (7, 1), b"INVITE")], Err("no SIP message over UDP")),
            (
                &[((7, 2), (10, 5080), SIP)],
                Err("0 SIP messages are from or to port 5060, and 1 from or to port 5080"),
            ),
            (
                &[
                    ((7, 2), (10, 5080), SIP),
                    ((7, 3), (10, 5080), SIP),
                    ((10, 5080), (7, 5060), SIP),
                ],
                Err("--port 5080"),
            ),
        ] {
            match (survey(datagrams, 0).guess(&[5060]), expected) {
                (Ok((addr, messages)), Ok(expected)) => {
                    assert_eq!(
                        (addr.to_string().as_str(), messages),
                        ("192.0.2.10", expected)
                    );
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{expected}: {error}");
                }
                (found, _) => panic!("{found:?}"),
            }
        }
    }

    #[test]
    fn what_is_cut_is_said() {
        let survey = survey(&[((7, 1), (10, 5060), SIP)], 60);
        let error = survey.guess(&[5060]).unwrap_err().to_string();
        assert!(error.contains("only a part of 1 packets"), "{error}");
    }

    #[test]
    fn a_pbx_that_is_named_must_be_there() {
        let survey = survey(&[((7, 1), (10, 5060), SIP)], 0);
        let named = |addr: &str| survey.has_any(&[addr.parse().unwrap()]);
        assert!(named("192.0.2.10").is_ok() && named("192.0.2.7").is_ok());
        let error = named("192.0.2.1").unwrap_err().to_string();
        assert!(
            error.contains("192.0.2.10, 192.0.2.7") || error.contains("192.0.2.7, 192.0.2.10"),
            "{error}"
        );
    }
}
