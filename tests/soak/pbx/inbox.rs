//! Datagrams that the PBX receives, with the time that they waited, and the number that the kernel dropped.

use std::{
    io::IoSliceMut,
    net::{SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};

/// Datagrams that are read at once.
const BATCH: usize = 64;
/// Longest datagram.
const LONGEST: usize = 4096;
/// Size of the kernel's queue, in bytes: packets must be lost in the network only.
const QUEUE: usize = 32 << 20;
/// Longest wait for a datagram.
const WAIT: Duration = Duration::from_millis(10);

/// The receiving half of the PBX's socket.
pub(super) struct Inbox {
    socket: UdpSocket,
    buffers: Vec<[u8; LONGEST]>,
    /// Time that the last datagram waited in the kernel's queue.
    pub(super) waited: Duration,
    /// Datagrams that the kernel has dropped because its queue was full.
    pub(super) dropped: u32,
}

impl Inbox {
    pub(super) fn new(socket: UdpSocket) -> Result<Self> {
        socket.set_read_timeout(Some(WAIT))?;
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        Ok(Self {
            socket,
            buffers: vec![[0; LONGEST]; BATCH],
            waited: Duration::ZERO,
            dropped: 0,
        })
    }

    /// Reads the datagrams that are there, or waits for one, and hands each to `take` with its source.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8], SocketAddrV4)) -> Result<()> {
        let mut headers =
            MultiHeaders::<SockaddrIn>::preallocate(BATCH, Some(cmsg_space!(TimeSpec, u32)));
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            &mut slices,
            MsgFlags::MSG_WAITFORONE,
            None,
        );
        self.waited = Duration::ZERO;
        let received = match received {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            received => received?,
        };
        let now = SystemTime::UNIX_EPOCH.elapsed()?;
        for datagram in received {
            for message in datagram.cmsgs()? {
                match message {
                    ControlMessageOwned::ScmTimestampns(at) => {
                        self.waited = now.saturating_sub(at.into());
                    }
                    ControlMessageOwned::RxqOvfl(dropped) => self.dropped = dropped,
                    _ => {}
                }
            }
            if let Some(source) = datagram.address
                && let Some(text) = datagram.iovs().next()
            {
                take(text, SocketAddrV4::new(source.ip(), source.port()));
            }
        }
        Ok(())
    }
}
