//! Offloads: changes that a driver makes to packets before the XDP program sees them.

use std::{
    io,
    mem::zeroed,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

/// `ETHTOOL_GFLAGS` of linux/ethtool.h: gets flags.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN` of linux/ethtool.h.
const RX_VLAN: u32 = 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether `interface` takes VLAN tags out of the frames that it receives (`ethtool -k`, rx-vlan-offload).
///
/// # Errors
/// If there is no such interface, or its driver does not say.
pub(crate) fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    // Any socket will do.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut value = Value {
        command: GET_FLAGS,
        data: 0,
    };
    // SAFETY: it is made of numbers and a pointer, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays 0.
    let capacity = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..capacity]
        .iter_mut()
        .zip(interface.bytes())
    {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads the request, and reads and writes the value that it points to; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data & RX_VLAN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_strips_nothing_and_what_is_not_there_is_an_error() {
        assert!(!strips_vlan_tags("lo").unwrap());
        let error = strips_vlan_tags("no-such-iface").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
