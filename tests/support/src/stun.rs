//! STUN Binding requests and responses of RFC 8489 and RFC 3489, for the tests that send and read them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::unique::unique;

/// Port of STUN.
pub const PORT: u16 = 3478;

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;

/// A Binding request without attributes, and with a transaction ID of its own.
pub fn request() -> [u8; HEADER] {
    let mut request = [0; HEADER];
    request[..2].copy_from_slice(&REQUEST.to_be_bytes());
    request[4..8].copy_from_slice(&MAGIC_COOKIE);
    request[16..].copy_from_slice(&unique().to_be_bytes());
    request
}

/// Whether a datagram is a Binding request.
pub fn is_request(datagram: &[u8]) -> bool {
    is(datagram, REQUEST)
}

/// Returns the transaction ID of a message, with the four bytes before it. Without magic cookie these are a part of
/// it.
pub fn transaction(message: &[u8]) -> Option<&[u8]> {
    message.get(4..HEADER)
}

/// Returns the mapped address of a success response, if that is its first attribute.
pub fn mapped(response: &[u8]) -> Option<SocketAddr> {
    let attribute = response.get(HEADER..).filter(|_| is(response, SUCCESS))?;
    let mask = match u16_at(attribute, 0)? {
        MAPPED_ADDRESS => &[0; 16],
        XOR_MAPPED_ADDRESS => transaction(response)?,
        _ => return None,
    };
    let bytes = attribute.get(8..)?.iter().zip(mask);
    let bytes: Vec<_> = bytes.map(|(byte, mask)| byte ^ mask).collect();
    let ip: IpAddr = match attribute.get(5)? {
        1 => Ipv4Addr::from(*bytes.first_chunk()?).into(),
        2 => Ipv6Addr::from(*bytes.first_chunk()?).into(),
        _ => return None,
    };
    let port = u16_at(attribute, 6)? ^ u16_at(mask, 0)?;
    Some(SocketAddr::new(ip, port))
}

/// Whether a datagram is a STUN message of this type, with the right length.
fn is(datagram: &[u8], kind: u16) -> bool {
    let length = datagram.len().checked_sub(HEADER);
    u16_at(datagram, 0) == Some(kind) && u16_at(datagram, 2).map(usize::from) == length
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 2.2 and 2.3, without the attributes around the address.
    const COOKIE_AND_TRANSACTION: [u8; 16] =
        *b"\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    fn response(attribute: &[u8]) -> Vec<u8> {
        let length = u8::try_from(attribute.len()).unwrap();
        [&[1, 1, 0, length], &COOKIE_AND_TRANSACTION[..], attribute].concat()
    }

    #[test]
    fn mapped_addresses() {
        let v4 = response(b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        assert_eq!(mapped(&v4), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = response(
            b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\
              \xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
        );
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
        assert_eq!(mapped(&v6), Some(expected.parse().unwrap()));
        let old = response(b"\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01");
        assert_eq!(mapped(&old), Some("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(mapped(&v4[..v4.len() - 1]), None);
        assert!(is_request(&request()) && !is_request(&v4));
    }
}
