//! Packet sockets on many interfaces of the lab.

use std::{
    io::IoSliceMut,
    net::SocketAddrV4,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::{
    cmsg_space,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol,
            SockType, recvmsg, setsockopt, socket, sockopt::ReceiveTimestampns,
        },
        time::TimeSpec,
    },
};

use crate::{netns::Netns, sip::Message};

/// The packet type of `packet(7)` for packets that the host itself sends.
const PACKET_OUTGOING: u8 = 4;
const FRAME: usize = 65536;
const POLL: u16 = 20;

/// An interface on which packets are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tap {
    /// A phone's interface: site and number.
    Phone(usize, usize),
    /// The outer interface of a site's router.
    Router(usize),
    /// The PBX's interface.
    Pbx,
    /// The phone with a public address.
    Public,
    /// The host on the PBX's subnet.
    Neighbour,
    /// The second gateway on the PBX's subnet.
    OtherGateway,
}

/// Direction of a packet, seen from the host of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The host receives it.
    In,
    /// The host sends it.
    Out,
}

/// A captured UDP packet.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Time at which the kernel saw it.
    pub time: Duration,
    /// Interface on which it was captured.
    pub tap: Tap,
    /// Direction of the packet.
    pub direction: Direction,
    /// Its source.
    pub source: SocketAddrV4,
    /// Its destination.
    pub destination: SocketAddrV4,
    /// The UDP checksum in the packet: with checksum offload the sum of the pseudo header only.
    pub checksum: u16,
    /// The IPv4 packet, from the IP header on.
    pub ip: Vec<u8>,
    /// The payload of UDP.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Returns the SIP message in the packet.
    pub fn sip(&self) -> Option<Message> {
        Message::parse(&self.payload)
    }

    /// Returns the IPv4 packet without the fields that every router changes: time to live and header checksum.
    pub fn without_hop(&self) -> Vec<u8> {
        const TTL: usize = 8;
        const CHECKSUM: usize = 10;
        let mut ip = self.ip.clone();
        ip[TTL] = 0;
        ip[CHECKSUM..CHECKSUM + 2].fill(0);
        ip
    }

    /// Returns the start line of the SIP message in the packet.
    pub fn start_line(&self) -> String {
        self.sip().map(|message| message.start).unwrap_or_default()
    }
}

/// A running capture, ended when dropped.
#[derive(Debug)]
pub struct Capture {
    taps: Arc<Taps>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Taps {
    sockets: Vec<Socket>,
    packets: Mutex<Vec<Packet>>,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    tap: Tap,
    ifindex: usize,
}

impl Capture {
    /// Captures on these interfaces.
    pub fn start(taps: &[(Tap, &Netns, &str)]) -> Result<Self> {
        let sockets: Vec<_> = taps
            .iter()
            .map(|&(tap, netns, interface)| Socket::open(tap, netns, interface))
            .collect::<Result<_>>()?;
        let taps = Arc::new(Taps {
            sockets,
            packets: Mutex::default(),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (taps, stop) = (Arc::clone(&taps), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    taps.wait();
                    drop(taps.packets());
                }
            }
        });
        Ok(Self {
            taps,
            stop,
            thread: Some(thread),
        })
    }

    /// Returns all packets so far, in order of time.
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = self.taps.packets().clone();
        packets.sort_by_key(|packet| packet.time);
        packets
    }

    /// Returns the packets so far of one interface and direction.
    pub fn at(&self, tap: Tap, direction: Direction) -> Vec<Packet> {
        let mut packets = self.packets();
        packets.retain(|packet| packet.tap == tap && packet.direction == direction);
        packets
    }

    /// Waits for a packet that `matches`; none if `limit` passes first.
    pub fn wait_for(&self, limit: Duration, matches: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let deadline = Instant::now() + limit;
        loop {
            let packets = self.taps.packets();
            let found = packets.iter().filter(|packet| matches(packet));
            if let Some(packet) = found.min_by_key(|packet| packet.time) {
                return Some(packet.clone());
            }
            drop(packets);
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Taps {
    /// Waits a moment for the next packet.
    fn wait(&self) {
        let mut polled: Vec<_> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.fd.as_fd(), PollFlags::POLLIN))
            .collect();
        let _interrupted = poll(&mut polled, PollTimeout::from(POLL));
    }

    /// Returns all packets that the kernel has captured until now, so that a caller does not wait for the thread.
    fn packets(&self) -> MutexGuard<'_, Vec<Packet>> {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = vec![0; FRAME];
        for socket in &self.sockets {
            while let Some(received) = socket.receive(&mut buffer) {
                packets.extend(received);
            }
        }
        packets
    }
}

impl Socket {
    fn open(tap: Tap, netns: &Netns, interface: &str) -> Result<Self> {
        let fd = netns
            .enter(|| {
                socket(
                    AddressFamily::Packet,
                    SockType::Raw,
                    SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
                    SockProtocol::EthAll,
                )
            })?
            .context("open a packet socket")?;
        setsockopt(&fd, ReceiveTimestampns, &true)?;
        let ifindex = usize::try_from(netns.ifindex(interface)?)?;
        Ok(Self { fd, tap, ifindex })
    }

    /// Returns the next frame: the outer option is none without a frame, the inner one for a frame that is not UDP
    /// over IPv4.
    fn receive(&self, buffer: &mut [u8]) -> Option<Option<Packet>> {
        let mut control = cmsg_space!(TimeSpec);
        let mut iov = [IoSliceMut::new(buffer)];
        let message = recvmsg::<LinkAddr>(
            self.fd.as_raw_fd(),
            &mut iov,
            Some(&mut control),
            MsgFlags::empty(),
        )
        .ok()?;
        let time = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let (length, link) = (message.bytes, message.address);
        Some(
            link.filter(|link| link.ifindex() == self.ifindex)
                .and_then(|link| {
                    let direction = if link.pkttype() == PACKET_OUTGOING {
                        Direction::Out
                    } else {
                        Direction::In
                    };
                    parse(self.tap, direction, time?, &buffer[..length])
                }),
        )
    }
}

fn parse(tap: Tap, direction: Direction, time: Duration, frame: &[u8]) -> Option<Packet> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        return None;
    };
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        return None;
    };
    let header = ip.header();
    let bytes = &sliced.ether_payload()?.payload[..usize::from(header.total_len())];
    Some(Packet {
        time,
        tap,
        direction,
        source: SocketAddrV4::new(header.source_addr(), udp.source_port()),
        destination: SocketAddrV4::new(header.destination_addr(), udp.destination_port()),
        checksum: udp.checksum(),
        ip: bytes.to_vec(),
        payload: udp.payload().to_vec(),
    })
}
