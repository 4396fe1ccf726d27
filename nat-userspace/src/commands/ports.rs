//! Ports in arguments.

/// Parses a port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port is a number from 1 to 65535".into()),
    }
}

/// Parses a range of ports.
pub(super) fn ports(text: &str) -> Result<[u16; 2], &'static str> {
    let ends = text.split_once('-');
    let ends = ends.and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    ends.filter(|[low, high]| 0 < *low && low <= high)
        .ok_or("a range of ports is two numbers, such as 10000-20000")
}

/// Parses a port, or 0 for none.
pub(super) fn port_or_none(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 1 to 65535; 0 is none".into())
}
