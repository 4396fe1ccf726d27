//! What drivers can do with XDP: the family `netdev` of generic netlink (Linux 6.3).

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

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
    let attribute_length = 4 + value.len();
    let mut message = Vec::new();
    message.extend(((HEADERS + attribute_length.next_multiple_of(4)) as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: the kernel needs none.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((attribute_length as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    find(&answer, wanted)
}

/// Finds an attribute in an answer.
fn find(answer: &[u8], wanted: u16) -> io::Result<Option<Vec<u8>>> {
    let word = |at: usize| {
        answer
            .get(at..at + 2)
            .map(|two| u16::from_ne_bytes([two[0], two[1]]))
    };
    if word(4) == Some(libc::NLMSG_ERROR as u16) {
        let error = answer
            .get(HEADER..HEADER + 4)
            .and_then(|four| four.try_into().ok());
        let error = i32::from_ne_bytes(error.unwrap_or_default());
        return Err(io::Error::from_raw_os_error(-error));
    }
    let mut at = HEADERS;
    while let (Some(length), Some(kind)) = (word(at), word(at + 2)) {
        let length = usize::from(length);
        let Some(value) = answer.get(at + 4..at + length.max(4)) else {
            break;
        };
        if kind == wanted {
            return Ok(Some(value.to_vec()));
        }
        at += length.max(4).next_multiple_of(4);
    }
    Ok(None)
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
