//! HTTP requests to servers in a network namespace.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

const PATIENCE: Duration = Duration::from_secs(10);

/// Answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// Connects to a server in `netns`.
pub fn connect(netns: &Netns, server: SocketAddr) -> Result<TcpStream> {
    let stream = netns.enter(|| TcpStream::connect_timeout(&server, PATIENCE))?;
    let stream = stream.with_context(|| format!("cannot connect to {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request without a body, and reads until the server closes the connection. By HTTP/1.0, so that the answer is not in chunks.
pub fn request(netns: &Netns, server: SocketAddr, method: &str, target: &str) -> Result<Answer> {
    let mut stream = connect(netns, server)?;
    write!(
        stream,
        "{method} {target} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("no end of the header")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.with_context(|| format!("no status in {head}"))?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
