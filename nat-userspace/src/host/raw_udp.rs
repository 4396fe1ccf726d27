//! UDP datagrams with a source of the sender's choice: that of another process's socket, or of another host.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
};

use etherparse::PacketBuilder;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
        SockaddrIn6, sendmsg, socket,
    },
};

/// Hops that a datagram may make, as Linux has it for others.
const TTL: u8 = 64;

/// Raw sockets of both versions of IP. They receive nothing: their protocol is that of no packet.
#[derive(Debug)]
pub(crate) struct RawUdp {
    v4: OwnedFd,
    /// None if this kernel has no IPv6.
    v6: Option<OwnedFd>,
    packet: Vec<u8>,
}

impl RawUdp {
    /// Opens them.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        let raw = |family| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            socket(family, SockType::Raw, flags, SockProtocol::Raw)
        };
        Ok(Self {
            v4: raw(AddressFamily::Inet)?,
            v6: match raw(AddressFamily::Inet6) {
                Err(Errno::EAFNOSUPPORT) => None,
                opened => Some(opened?),
            },
            packet: Vec::new(),
        })
    }

    /// Sends a datagram. The route is that of packets from the source.
    ///
    /// # Errors
    /// If the addresses differ in the version of IP, there is no route, or the queue is full.
    pub(crate) fn send(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> io::Result<()> {
        self.packet.clear();
        let write = |builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>, packet| {
            let written = builder.write(packet, payload);
            written.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        };
        match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let ip = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL);
                write(ip.udp(from.port(), to.port()), &mut self.packet)?;
                self.send_v4(*from.ip(), to)
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let ip = PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), TTL);
                write(ip.udp(from.port(), to.port()), &mut self.packet)?;
                self.send_v6(to)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn send_v4(&self, from: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
        // The kernel takes the route's source from here, not from the header.
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from(from).to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        sendmsg(
            self.v4.as_raw_fd(),
            &[IoSlice::new(&self.packet)],
            &[ControlMessage::Ipv4PacketInfo(&source)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(to)),
        )?;
        Ok(())
    }

    fn send_v6(&self, to: SocketAddrV6) -> io::Result<()> {
        let socket = self.v6.as_ref().ok_or(Errno::EAFNOSUPPORT)?;
        // A raw socket of IPv6 takes no port.
        let to = SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id());
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(&self.packet)],
            &[],
            MsgFlags::empty(),
            Some(&SockaddrIn6::from(to)),
        )?;
        Ok(())
    }
}
