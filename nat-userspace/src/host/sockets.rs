//! Sockets of this network namespace.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use nat_common::abi::Config;

/// Lists the addresses to which UDP sockets are bound.
///
/// # Errors
/// If /proc does not list them.
pub(crate) fn udp() -> io::Result<Vec<SocketAddr>> {
    read("udp", bound)
}

/// Lists the TCP connections: local and remote address.
///
/// # Errors
/// If /proc does not list them.
pub(crate) fn tcp() -> io::Result<Vec<(SocketAddr, SocketAddr)>> {
    read("tcp", connection)
}

/// Reads the sockets of a protocol in the thread's network namespace: IPv4, and IPv6.
fn read<T>(protocol: &str, parse: fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut sockets = Vec::new();
    for (index, version) in ["", "6"].into_iter().enumerate() {
        match fs::read_to_string(format!("/proc/thread-self/net/{protocol}{version}")) {
            Ok(text) => sockets.extend(text.lines().skip(1).filter_map(parse)),
            // This kernel has no IPv6.
            Err(error) if index > 0 && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// Reads a line of an established connection: the fourth field is its state.
fn connection(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    (fields.next()? == ESTABLISHED).then_some((local, remote))
}

/// Reads the address to which the socket of a line is bound: the second field.
fn bound(line: &str) -> Option<SocketAddr> {
    address(line.split_ascii_whitespace().nth(1)?)
}

/// Reads an address, `0100007F:13C4`.
fn address(field: &str) -> Option<SocketAddr> {
    let (address, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(8 * index..8 * index + 8)?;
        // The kernel prints words of the address, whose bytes are in network byte order, as numbers.
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Returns [`Config::wildcards`]: bits of those of `ports` whose sockets are all bound to no address. A port without a socket
/// keeps its bits in `before`. Sockets of the loopback interface do not count: they never send to a terminal.
///
/// A socket of IPv6 says nothing of IPv4, where that has a socket of its own: another user may have made it.
pub(crate) fn wildcards(ports: &[u16], sockets: &[SocketAddr], before: u32) -> u32 {
    let mut bits = 0;
    for (index, port) in ports.iter().enumerate() {
        let here: Vec<IpAddr> = sockets
            .iter()
            .filter(|socket| socket.port() == *port && !socket.ip().is_loopback())
            .map(SocketAddr::ip)
            .collect();
        let all = |v4: bool| {
            let of_version = here.iter().filter(|ip| ip.is_ipv4() == v4);
            of_version
                .map(IpAddr::is_unspecified)
                .reduce(|all, one| all && one)
        };
        let any_v6 = here.iter().any(|ip| ip.is_ipv6() && ip.is_unspecified());
        // A socket bound to no address of IPv6 gets IPv4, too, unless another one does.
        let v4 = all(true).or(any_v6.then_some(true));
        for (is_wildcard, bit) in [
            (v4, Config::wildcard(index, true)),
            (all(false), Config::wildcard(index, false)),
        ] {
            if is_wildcard.unwrap_or(before & bit != 0) {
                bits |= bit;
            }
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_of_this_process_is_found() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else {
                continue;
            };
            let bound = socket.local_addr().unwrap();
            assert!(udp().unwrap().contains(&bound), "{bound}");
        }
    }

    #[test]
    fn a_connection_of_this_process_is_found() {
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert!(tcp().unwrap().iter().all(|(local, _)| *local != here));
        let client = TcpStream::connect(here).unwrap();
        let pair = (here, client.local_addr().unwrap());
        assert!(tcp().unwrap().contains(&pair), "{pair:?}");
    }

    #[test]
    fn lines_of_proc_are_read() {
        let v4 =
            " 3077: 050200C0:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0";
        let v6 = " 3077: B80D0120000000000000000005000000:13C4 0000000000000000:0000 07";
        let number = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        // The lines above are those of a little-endian machine.
        let v4 = v4.replace("050200C0", &number([192, 0, 2, 5]));
        let words = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 5]].map(number);
        let v6 = v6.replace("B80D0120000000000000000005000000", &words.concat());
        assert_eq!(bound(&v4), Some("192.0.2.5:5060".parse().unwrap()));
        assert_eq!(bound(&v6), Some("[2001:db8::5]:5060".parse().unwrap()));
        for line in ["", "1:", "1: 00000000", "1: 0000:13C4", "1: 0000000g:13C4"] {
            assert_eq!(bound(line), None, "{line}");
        }
    }

    #[test]
    fn a_port_is_a_wildcard_if_all_its_sockets_are() {
        let bits = |sockets: &[&str], before| {
            let sockets: Vec<_> = sockets.iter().map(|text| text.parse().unwrap()).collect();
            wildcards(&[5060, 5080], &sockets, before)
        };
        assert_eq!(bits(&["0.0.0.0:5060", "192.0.2.1:5080", "[::]:9"], 0), 0b01);
        // A socket of IPv6 may get IPv4, too.
        assert_eq!(
            bits(&["[::]:5060", "0.0.0.0:5060", "[::]:5080"], 0),
            0x300 | 0b11
        );
        // One socket with an address is enough: it is another PBX, or part of this one.
        assert_eq!(bits(&["0.0.0.0:5060", "192.0.2.1:5060"], 0b11), 0b10);
        assert_eq!(
            bits(&["0.0.0.0:5060", "127.0.0.1:5060", "[::1]:5060"], 0),
            1
        );
        // The PBX restarts, or is another host.
        assert_eq!(bits(&["127.0.0.1:5060"], 0b01), 0b01);
        assert_eq!(bits(&[], 0x102), 0x102);
        assert_eq!(bits(&[], 0), 0);
    }

    /// Any user of the host can bind a port above 1023 of the other version of IP.
    #[test]
    fn a_socket_of_the_other_version_changes_nothing() {
        for (pbx, v4) in [("0.0.0.0:5060", 1), ("192.0.2.1:5060", 0)] {
            for (other, v6) in [("[::]:5060", 0x100), ("[2001:db8::5]:5060", 0)] {
                let sockets = [pbx, other].map(|text| text.parse().unwrap());
                assert_eq!(wildcards(&[5060], &sockets, 0), v4 | v6, "{pbx} {other}");
            }
        }
    }
}
