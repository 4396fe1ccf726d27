//! Interfaces' drivers: their names, and changes that they make to packets before the XDP program sees them.

use std::{ffi::CStr, io, mem::zeroed, os::fd::AsRawFd as _};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_GDRVINFO` of linux/ethtool.h: gets the driver.
const GET_DRIVER: u32 = 0x3;
/// `ETHTOOL_GSTRINGS` of linux/ethtool.h: gets the strings of a set.
const GET_STRINGS: u32 = 0x1b;
/// `ETHTOOL_GSSET_INFO` of linux/ethtool.h: gets the numbers of strings of sets.
const GET_COUNTS: u32 = 0x37;
/// `ETHTOOL_GFEATURES` of linux/ethtool.h: gets the features, by the strings of [`FEATURES`].
const GET_FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES` of linux/ethtool.h: the set of names of features.
const FEATURES: u32 = 4;
/// Length of a string (`ETH_GSTRING_LEN`).
const STRING: usize = 32;
/// `ETHTOOL_GFLAGS` of linux/ethtool.h: gets flags.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN` of linux/ethtool.h.
const RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_LRO` of linux/ethtool.h.
const LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    /// Versions, the bus, and counts.
    rest: [u8; 160],
}

const _: () = assert!(size_of::<Driver>() == 196);

/// Whether `interface` takes VLAN tags out of the frames that it receives (`ethtool -k`, rx-vlan-offload).
///
/// # Errors
/// If there is no such interface, or its driver does not say.
pub(crate) fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    Ok(flags(interface)? & RX_VLAN != 0)
}

/// Whether the driver of `interface` joins packets that it receives (`ethtool -k`, large-receive-offload).
///
/// # Errors
/// If there is no such interface, or its driver does not say.
pub(crate) fn joins_packets(interface: &str) -> io::Result<bool> {
    Ok(flags(interface)? & LRO != 0)
}

/// Returns those of `names` that are features of `interface` which are on (`ethtool -k`).
///
/// # Errors
/// If there is no such interface.
pub(crate) fn features_on<'n>(interface: &str, names: &[&'n str]) -> io::Result<Vec<&'n str>> {
    // `struct ethtool_sset_info`: command, reserved, a mask of 64 bits, and a count for each of its bits.
    let mut counts = [GET_COUNTS, 0, 0, 0, 0];
    // SAFETY: the mask is aligned to a word of the array, as the kernel copies it byte by byte.
    unsafe {
        (&raw mut counts[2])
            .cast::<u64>()
            .write_unaligned(1 << FEATURES);
    };
    // SAFETY: the kernel reads and writes that structure.
    unsafe { ask(interface, counts.as_mut_ptr())? };
    let count = counts[4] as usize;
    // `struct ethtool_gstrings`: command, set, number, and the strings.
    let mut strings = vec![0_u32; 3 + count * STRING / 4];
    strings[..3].copy_from_slice(&[GET_STRINGS, FEATURES, count as u32]);
    // SAFETY: as above.
    unsafe { ask(interface, strings.as_mut_ptr())? };
    // `struct ethtool_gfeatures`: command, number of blocks, and blocks of four words: available, requested, active, never changed.
    let blocks = count.div_ceil(32);
    let mut features = vec![0_u32; 2 + blocks * 4];
    features[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
    // SAFETY: as above.
    unsafe { ask(interface, features.as_mut_ptr())? };
    let strings = strings[3..].chunks_exact(STRING / 4);
    let on = strings.enumerate().filter_map(|(bit, words)| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let name = CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok()?;
        let is_on = features.get(2 + bit / 32 * 4 + 2)? >> (bit % 32) & 1 != 0;
        names
            .iter()
            .copied()
            .find(|wanted| is_on && *wanted == name)
    });
    Ok(on.collect())
}

fn flags(interface: &str) -> io::Result<u32> {
    let mut value = Value {
        command: GET_FLAGS,
        data: 0,
    };
    // SAFETY: the kernel reads and writes a `struct ethtool_value`.
    unsafe { ask(interface, &raw mut value)? };
    Ok(value.data)
}

/// Returns the name of the driver of `interface` (`ethtool -i`).
///
/// # Errors
/// If there is no such interface, or its driver does not say.
pub(crate) fn driver(interface: &str) -> io::Result<String> {
    let mut driver = Driver {
        command: GET_DRIVER,
        name: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: the kernel reads and writes a `struct ethtool_drvinfo`.
    unsafe { ask(interface, &raw mut driver)? };
    let name = CStr::from_bytes_until_nul(&driver.name).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// Makes the system call.
///
/// # Safety
/// `command` must point to the structure that its first word, the command, names.
unsafe fn ask<T>(interface: &str, command: *mut T) -> io::Result<()> {
    // Any socket will do. One with an address would need an interface that is up.
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: it is made of numbers and a pointer, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays 0.
    let capacity = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..capacity]
        .iter_mut()
        .zip(interface.bytes())
    {
        // Signed on some machines, and unsigned on others.
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = command.cast();
    // SAFETY: the kernel reads the request, and reads and writes what it points to; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_strips_nothing_and_what_is_not_there_is_an_error() {
        assert!(!strips_vlan_tags("lo").unwrap());
        let error = strips_vlan_tags("no-such-iface").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = driver("no-such-iface").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = features_on("no-such-iface", &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    /// Every loopback interface has the one, can never have the other, and nothing has the third.
    #[test]
    fn features_are_found_by_their_names() {
        let names = ["loopback", "rx-lro", "no-such-feature"];
        assert_eq!(features_on("lo", &names).unwrap(), ["loopback"]);
    }
}
