//! SIP messages as text, with the functions that the lab's PBX and its ALG need.
//!
//! The lab uses no SIP crate. It has to write wrong messages on purpose, byte by byte, and its reading of RFC 3261
//! must not depend on another parser.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use anyhow::{Context as _, Result};

/// The port of a SIP URI or a Via that names none (RFC 3261 19.1.2).
pub const DEFAULT_PORT: u16 = 5060;

/// Header fields with a compact name.
const NAMES: [(&str, &str); 7] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
];

/// A SIP message: start line, header fields in order, body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    fields: Vec<(String, String)>,
    body: String,
}

/// The numeric host and optional port of a sent-by or a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// The address.
    pub host: Ipv4Addr,
    /// The port, when one is given.
    pub port: Option<u16>,
}

/// Destination of the responses of a PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// The address in the Via (RFC 3261 18.2.2).
    ByVia,
    /// The source address and port of the request.
    ToSource,
}

impl Message {
    /// A message without header fields and body.
    pub fn new(start: impl Into<String>) -> Self {
        Self {
            start: start.into(),
            fields: Vec::new(),
            body: String::new(),
        }
    }

    /// A response to `request` that repeats what RFC 3261 8.2.6.2 says.
    pub fn response(request: &Self, status: &str) -> Self {
        let mut response = Self::new(format!("SIP/2.0 {status}"));
        for (name, value) in &request.fields {
            if ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name.as_str())
                || (name == "Record-Route" && request.method() == "INVITE")
            {
                response.push(name, value.clone());
            }
        }
        response
    }

    /// Parses the text of a datagram.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().filter(|line| line.contains("SIP/2.0"))?;
        let mut message = Self::new(start);
        for line in lines {
            let (name, value) = line.split_once(':')?;
            message.push(long_name(name.trim()), value.trim());
        }
        message.body = body.to_owned();
        Some(message)
    }

    /// Appends a header field.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((name.to_owned(), value.into()));
    }

    /// The same message with one more header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    /// The same message with a session description for a body.
    #[must_use]
    pub fn with_sdp(mut self, sdp: &str) -> Self {
        self.push("Content-Type", "application/sdp");
        sdp.clone_into(&mut self.body);
        self
    }

    /// The same message with a text for a body.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.push("Content-Type", "text/plain");
        text.clone_into(&mut self.body);
        self
    }

    /// The same message with compact header field names (RFC 3261 7.3.3).
    #[must_use]
    pub fn compact(mut self) -> Self {
        for (name, _) in &mut self.fields {
            if let Some((short, _)) = NAMES.iter().find(|(_, long)| long == name) {
                (*short).clone_into(name);
            }
        }
        self
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The value of the first header field of that (long) name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.0.eq_ignore_ascii_case(name))
            .map(|field| field.1.as_str())
    }

    /// The value of the first header field of that (long) name, to be changed.
    pub fn field_mut(&mut self, name: &str) -> Option<&mut String> {
        self.fields
            .iter_mut()
            .find(|field| field.0.eq_ignore_ascii_case(name))
            .map(|field| &mut field.1)
    }

    /// Whether the message is a request.
    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0")
    }

    /// The method: of the request line, or of a response's CSeq.
    pub fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or_default()
        } else {
            self.cseq().1
        }
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        let line = self.start.strip_prefix("SIP/2.0 ")?;
        line.split(' ').next()?.parse().ok()
    }

    /// The Request-URI.
    pub fn request_uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        self.field("Call-ID").unwrap_or_default()
    }

    /// The number and the method of CSeq.
    pub fn cseq(&self) -> (u32, &str) {
        let value = self.field("CSeq").unwrap_or_default();
        let (number, method) = value.split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or_default(), method.trim())
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> &str {
        self.field("Via")
            .and_then(|via| parameter(via, "branch"))
            .unwrap_or_default()
    }

    /// The tag of From or To.
    pub fn tag(&self, name: &str) -> Option<&str> {
        parameter(self.field(name)?, "tag")
    }

    /// Whether the message has a To-tag, so belongs to an existing dialog.
    pub fn is_in_dialog(&self) -> bool {
        self.tag("To").is_some()
    }

    /// The URI of the first Contact.
    pub fn contact(&self) -> Option<&str> {
        self.field("Contact").map(uri)
    }

    /// Address of the audio in its session description.
    pub fn audio(&self) -> Option<SocketAddrV4> {
        let line = |start| self.body.lines().find_map(|line| line.strip_prefix(start));
        let host = line("c=IN IP4 ")?.parse().ok()?;
        let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
        Some(SocketAddrV4::new(host, port))
    }

    /// Writes `received` into the topmost Via if its sent-by differs from the source (RFC 3261 18.2.1).
    pub fn note_received(&mut self, source: Ipv4Addr) {
        if let Some(via) = self.field_mut("Via")
            && sent_by(via).is_none_or(|sent_by| sent_by.host != source)
        {
            via.push_str(&format!(";received={source}"));
        }
    }

    /// Returns the address for a response by the topmost Via, over unreliable transport (RFC 3261 18.2.2): that of
    /// `received` if the Via has one, else that of sent-by; the port is always that of sent-by.
    pub fn response_address(&self) -> Option<SocketAddrV4> {
        let via = self.field("Via")?;
        let sent_by = sent_by(via)?;
        let received = parameter(via, "received").and_then(|value| value.parse().ok());
        Some(SocketAddrV4::new(
            received.unwrap_or(sent_by.host),
            sent_by.port(),
        ))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.start)?;
        for (name, value) in &self.fields {
            write!(f, "{name}: {value}\r\n")?;
        }
        if self.field("Content-Length").is_none() {
            write!(f, "Content-Length: {}\r\n", self.body.len())?;
        }
        write!(f, "\r\n{}", self.body)
    }
}

impl HostPort {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        Some(Self {
            host: host.parse().ok()?,
            port,
        })
    }

    /// Returns the port, which is 5060 if none is given.
    pub fn port(self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// Returns address and port.
    pub fn address(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.host, self.port())
    }
}

/// The sent-by of a Via.
pub fn sent_by(via: &str) -> Option<HostPort> {
    let rest = via.trim_start().split_once(' ')?.1;
    HostPort::parse(rest.split(';').next()?.trim())
}

/// The host and port of a URI.
pub fn uri_host_port(uri: &str) -> Option<HostPort> {
    let rest = uri
        .strip_prefix("sip:")
        .or_else(|| uri.strip_prefix("sips:"))?;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    HostPort::parse(rest.split([';', '?', '>']).next()?)
}

/// Returns the address to which a URI points.
pub fn address(uri: &str) -> Result<SocketAddrV4> {
    let target = uri_host_port(uri).with_context(|| format!("cannot route to {uri}"))?;
    Ok(target.address())
}

/// The URI of a name-addr or addr-spec.
pub fn uri(value: &str) -> &str {
    match after_display_name(value).split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// Returns the rest behind a quoted display name.
fn after_display_name(value: &str) -> &str {
    let Some(quoted) = value.trim_start().strip_prefix('"') else {
        return value;
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(value, |end| &quoted[end + 1..])
}

/// Returns a CANCEL or ACK of the transaction of `invite` (RFC 3261 9.1, 17.1.1.3).
pub fn of_same_transaction(invite: &Message, method: &str, to: &str) -> Result<Message> {
    let field = |name| {
        let value = invite.field(name).map(str::to_owned);
        value.with_context(|| format!("no {name} in {}", invite.start))
    };
    Ok(
        Message::new(format!("{method} {} SIP/2.0", invite.request_uri()))
            .with("Via", field("Via")?)
            .with("Max-Forwards", "70")
            .with("From", field("From")?)
            .with("To", to)
            .with("Call-ID", invite.call_id())
            .with("CSeq", format!("{} {method}", invite.cseq().0)),
    )
}

/// A parameter of a header field, outside of the angle brackets.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let rest = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    rest.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn long_name(name: &str) -> &str {
    let known = NAMES.iter().find(|(short, _)| *short == name);
    known.map_or(name, |(_, long)| long)
}
