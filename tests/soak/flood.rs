//! Junk packets from spoofed sources.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use nat_test_support::{PBX, netns::Netns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::{
    network,
    pbx::NOBODY,
    shared::{Figure, Random, Shared, Stage, aor, number},
};

/// Longest time that a datagram waits for the PBX. Beyond it, no junk is sent: a PBX that is overrun loses calls by itself.
const LONGEST_QUEUE: Duration = Duration::from_millis(50);

/// Sender of junk.
pub(crate) struct Flood<'s> {
    shared: &'s Shared,
    socket: OwnedFd,
    per_second: u64,
    random: Random,
}

impl<'s> Flood<'s> {
    /// Opens a socket in the provider's network, for at most this number of packets a second, and no more than the PBX reads.
    pub(crate) fn new(shared: &'s Shared, isp: &Netns, per_second: u64) -> Result<Self> {
        let socket = isp.enter(|| -> Result<_> {
            // `IPPROTO_RAW`: the packets bring their own IP headers.
            let raw = socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                nix::sys::socket::SockProtocol::Raw,
            )?;
            setsockopt(&raw, sockopt::SndBuf, &(1 << 20))?;
            Ok(raw)
        })?;
        Ok(Self {
            shared,
            socket: socket.context("a raw socket")?,
            per_second,
            random: Random::new(shared.run ^ 11),
        })
    }

    /// Sends until the calls end.
    pub(crate) fn pour(mut self) -> Result<()> {
        let start = Instant::now();
        let mut sent = 0;
        let to = SockaddrIn::from(PBX);
        while self.shared.stage() < Stage::Close {
            let due = (start.elapsed().as_millis() as u64) * self.per_second / 1000;
            // Packets that are late are dropped: the rate is a limit.
            sent = sent.max(due.saturating_sub(self.per_second / 10));
            while sent < due {
                if sent.is_multiple_of(64) && self.shared.queue() > LONGEST_QUEUE {
                    break;
                }
                let packet = self.packet()?;
                sendto(self.socket.as_raw_fd(), &packet, &to, MsgFlags::empty())
                    .context("cannot send junk")?;
                self.shared.count(Figure::Junk);
                sent += 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        let payload = self.payload();
        let n = self.random.next().to_be_bytes();
        let host = Ipv4Addr::new(
            network::NOBODY[0],
            network::NOBODY[1] | n[0] & 1,
            n[1],
            n[2],
        );
        let source = SocketAddrV4::new(host, u16::from_be_bytes([n[3] | 4, n[4]]));
        let builder = PacketBuilder::ipv4(source.ip().octets(), PBX.ip().octets(), 64)
            .udp(source.port(), PBX.port());
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut packet, &payload)?;
        Ok(packet)
    }

    fn payload(&mut self) -> Vec<u8> {
        let id = self.random.next();
        let victim = self.random.below(self.shared.phones() as u64) as usize;
        let contact = match id % 3 {
            0 => "<sip:phone@192.168.1.10:5060>".to_owned(),
            1 => format!("<sip:{}@192.168.1.{}:5060>", number(victim), 10 + id % 40),
            _ => format!("<sip:phone@60.100.{}.2>", id % 50),
        };
        let message = |method: &str, to: &str| {
            format!(
                "{method} sip:{host} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK-{id:x}\r\n\
                 From: <{from}>;tag={id:x}\r\n\
                 To: <{to}>\r\n\
                 Call-ID: {id:x}@192.168.1.10\r\n\
                 CSeq: 1 {method}\r\n\
                 Contact: {contact}\r\n\
                 Max-Forwards: 70\r\n\
                 Content-Length: 0\r\n\r\n",
                host = PBX.ip(),
                from = aor(victim),
            )
        };
        match self.random.below(8) {
            // Refused with 403; challenged with 401; not answered.
            0 | 1 => message("INVITE", &format!("sip:echo@{}", PBX.ip())).into(),
            2 | 3 => message("REGISTER", &aor(victim)).into(),
            4 | 5 => message("INVITE", &format!("sip:{NOBODY}@{}", PBX.ip())).into(),
            6 => {
                let mut text = message("INVITE", &aor(victim)).into_bytes();
                text.truncate((id % text.len() as u64) as usize);
                text
            }
            _ => (0..id % 600).map(|_| self.random.next() as u8).collect(),
        }
    }
}
