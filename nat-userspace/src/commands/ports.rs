//! Ports in arguments.

/// Parses a port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port is a number from 1 to 65535".into()),
    }
}

/// Parses a port, or 0 for none.
pub(super) fn port_or_none(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 1 to 65535; 0 is none".into())
}
