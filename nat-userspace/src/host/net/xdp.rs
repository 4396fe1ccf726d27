//! What drivers can do with XDP: the family `netdev` of generic netlink (Linux 6.3).

use std::{io, num::NonZeroI32};

use rtnetlink::{
    packet_core::{
        DefaultNla, Emitable as _, ErrorBuffer, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer,
        NetlinkHeader, NlasIterator,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC},
};

/// Family of generic netlink that knows the others: `GENL_ID_CTRL`.
const CONTROL: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY` and the attributes of a family: its id and its name.
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET` and the attributes of a device: its index and its XDP features.
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: the driver runs programs.
const BASIC: u64 = 1;

/// Length of `struct nlmsghdr` and `struct genlmsghdr`, and of the former.
const HEADERS: usize = 20;
const HEADER: usize = 16;

/// Whether the driver of an interface runs XDP programs itself. None if the kernel does not say.
///
/// # Errors
/// If there is no such interface.
pub(crate) fn is_native(index: u32) -> io::Result<Option<bool>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let Some(family) = ask(
        &socket,
        CONTROL,
        GET_FAMILY,
        FAMILY_NAME,
        b"netdev\0",
        FAMILY_ID,
    )
    .or_else(unless_missing)?
    else {
        return Ok(None);
    };
    let family = u16::from_ne_bytes(family[..2].try_into().map_err(io::Error::other)?);
    let features = ask(
        &socket,
        family,
        GET_DEVICE,
        DEVICE_INDEX,
        &index.to_ne_bytes(),
        DEVICE_FEATURES,
    )?;
    let features = features
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_ne_bytes);
    Ok(features.map(|features| features & BASIC != 0))
}

/// Takes a family that the kernel does not have for no answer.
fn unless_missing(error: io::Error) -> io::Result<Option<Vec<u8>>> {
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(None),
        _ => Err(error),
    }
}

/// Sends a command with one attribute. Returns an attribute of the answer, if it has that.
fn ask(
    socket: &Socket,
    family: u16,
    command: u8,
    attribute: u16,
    value: &[u8],
    wanted: u16,
) -> io::Result<Option<Vec<u8>>> {
    let attribute = DefaultNla::new(attribute, value.to_vec());
    let mut header = NetlinkHeader::default();
    header.length = (HEADERS + attribute.buffer_len()) as u32;
    header.message_type = family;
    header.flags = NLM_F_REQUEST;
    let mut message = vec![0; header.length as usize];
    header.emit(&mut message);
    message[HEADER..HEADERS].copy_from_slice(&[command, 1, 0, 0]);
    attribute.emit(&mut message[HEADERS..]);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    find(&answer, wanted)
}

/// Finds an attribute in an answer.
fn find(answer: &[u8], wanted: u16) -> io::Result<Option<Vec<u8>>> {
    if NetlinkBuffer::new_checked(answer).is_ok_and(|it| it.message_type() == NLMSG_ERROR) {
        let error = ErrorBuffer::new_checked(&answer[HEADER..]).map_err(io::Error::other)?;
        let code = error.code().map_or(0, NonZeroI32::get);
        return Err(io::Error::from_raw_os_error(-code));
    }
    let attributes = answer.get(HEADERS..).unwrap_or_default();
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let found = attributes.find(|attribute| attribute.kind() == wanted);
    Ok(found.map(|attribute| attribute.value().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_driver_and_what_is_not_there_is_an_error() {
        let loopback = is_native(1).unwrap();
        assert!(matches!(loopback, None | Some(false)), "{loopback:?}");
        if loopback.is_some() {
            let error = is_native(u32::MAX >> 1).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        }
    }

    #[test]
    fn attributes_are_found_and_cut_ones_are_not() {
        let mut answer = vec![0; HEADERS];
        answer.extend([6, 0, 7, 0, 1, 2, 0, 0, 8, 0, 9, 0, 1, 2, 3, 4]);
        assert_eq!(find(&answer, 7).unwrap(), Some(vec![1, 2]));
        assert_eq!(find(&answer, 9).unwrap(), Some(vec![1, 2, 3, 4]));
        assert_eq!(find(&answer, 8).unwrap(), None);
        answer.truncate(answer.len() - 1);
        assert_eq!(find(&answer, 9).unwrap(), None);
    }
}
