//! Messages as real phones and PBXs write them. They differ in the order and form of their headers, in names, options
//! and bodies, so that no branch predictor learns one of them.
//!
//! The kernel writes identities of terminals and transactions into each packet ([`nat_bench_ebpf`]).

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use nat_bench_ebpf::{CHECKSUM, DESTINATION, EDITS, Edit, FRAME, SOURCE, Template, UDP, edit};

/// The PBX, and its name in SIP.
pub(crate) const PBX: [u8; 4] = [203, 0, 113, 10];
const DOMAIN: &str = "pbx.example.com";
/// Stations of the next hop before the PBX, and of the PBX.
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// Length of the Ethernet, IPv4 and UDP headers.
const HEADERS: usize = UDP + 8;
/// Number of messages in a mix.
pub(crate) const MIX: usize = 256;

/// Terminal of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// A terminal that was never seen before.
    New,
    /// A known terminal, picked at random.
    Picked,
}

/// Private address of phones.
pub(crate) const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

/// Address of the account that registers ever more contacts.
const ACCOUNT: [u8; 4] = [60, 1, 2, 3];

/// RTP port, another for each message.
const RTP: &str = "\x05\x05\x05\x05\x05";

/// Placeholders for values that the kernel writes: a byte that occurs in no text, repeated.
const MARKS: [(u8, u16, usize); 5] = [
    (1, edit::HEX, 8),
    (2, edit::HEX | edit::PICKED, 8),
    (3, edit::ADDRESS, 11),
    (4, edit::ADDRESS | edit::PICKED, 11),
    (5, edit::RTP, 5),
];

impl Terminal {
    fn flag(self) -> u16 {
        match self {
            Self::New => 0,
            Self::Picked => edit::PICKED,
        }
    }

    /// Returns the edit that writes its identity.
    fn id(self) -> &'static str {
        match self {
            Self::New => "\x01\x01\x01\x01\x01\x01\x01\x01",
            Self::Picked => "\x02\x02\x02\x02\x02\x02\x02\x02",
        }
    }

    /// Returns the edit that writes its public address.
    fn address(self) -> &'static str {
        match self {
            Self::New => "60.\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03",
            Self::Picked => "60.\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04",
        }
    }
}

/// Returns a message from a terminal to the PBX.
pub(crate) fn inbound(terminal: Terminal, text: &str) -> Template {
    from_terminal(terminal, 5060, text.as_bytes())
}

/// Returns a message from the PBX to the address in a terminal's Contact.
pub(crate) fn outbound(terminal: Terminal, text: &str) -> Template {
    from_pbx(terminal, edit::DESTINATION_ADDRESS, text)
}

/// Returns a message from the SIP port of a known terminal that nothing translates.
pub(crate) fn from_public(text: &str) -> Template {
    let source = Edit {
        at: SOURCE as u16,
        kind: edit::SOURCE_ADDRESS | edit::PICKED,
    };
    sip(
        datagram([60, 0, 0, 0], PBX, 5060, 5060, text.as_bytes()),
        Some(source),
    )
}

/// Returns a message from the address of the account that registers ever more contacts.
pub(crate) fn from_account(text: &str) -> Template {
    sip(datagram(ACCOUNT, PBX, 5060, 5060, text.as_bytes()), None)
}

/// Returns a message from the PBX to the account.
pub(crate) fn to_account(text: &str) -> Template {
    sip(datagram(PBX, ACCOUNT, 5060, 5060, text.as_bytes()), None)
}

/// Returns a message from the PBX to the private address of a known terminal.
pub(crate) fn to_private(text: &str) -> Template {
    sip(
        datagram(PBX, PRIVATE.octets(), 5060, 5060, text.as_bytes()),
        None,
    )
}

/// Returns a message from the PBX to where a terminal's packets come from.
pub(crate) fn back(terminal: Terminal, text: &str) -> Template {
    from_pbx(terminal, edit::DESTINATION, text)
}

fn from_pbx(terminal: Terminal, kind: u16, text: &str) -> Template {
    let destination = Edit {
        at: DESTINATION as u16,
        kind: kind | terminal.flag(),
    };
    sip(
        datagram(PBX, [60, 0, 0, 0], 5060, 5060, text.as_bytes()),
        Some(destination),
    )
}

/// Returns any payload from a terminal to a port of the PBX.
pub(crate) fn from_terminal(terminal: Terminal, port: u16, payload: &[u8]) -> Template {
    let source = Edit {
        at: SOURCE as u16,
        kind: edit::SOURCE | terminal.flag(),
    };
    sip(
        datagram([60, 0, 0, 0], PBX, 20_000, port, payload),
        Some(source),
    )
}

/// Returns 20 ms of audio from a terminal to its stream at an address of this host.
pub(crate) fn audio_in(terminal: Terminal, local: [u8; 4]) -> Template {
    let source = Edit {
        at: SOURCE as u16,
        kind: edit::SOURCE | terminal.flag(),
    };
    stream(
        datagram([60, 0, 0, 0], local, 0, 0, &audio()),
        Some(source),
        UDP + 2,
    )
}

/// Returns 20 ms of audio of the PBX from the stream of a known terminal to the private address in its description.
pub(crate) fn audio_out(local: [u8; 4]) -> Template {
    let mut bytes = datagram(local, PRIVATE.octets(), 0, AUDIO_PORT, &audio());
    // Changes of a checksum that is absent cost less.
    bytes[UDP + 6..UDP + 8].fill(1);
    stream(bytes, None, UDP)
}

/// Port of audio of all phones.
pub(crate) const AUDIO_PORT: u16 = 4000;

/// Returns RTP (RFC 3550 5.1) with 20 ms of G.711.
pub(crate) fn audio() -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, AUDIO_SSRC];
    packet.resize(172, 0xd5);
    packet
}

/// Last byte of the source of audio.
pub(crate) const AUDIO_SSRC: u8 = 7;

/// Has the kernel write the port of a stream, too.
fn stream(bytes: Vec<u8>, address: Option<Edit>, at: usize) -> Template {
    let mut template = sip(bytes, address);
    let free = template
        .edits
        .iter_mut()
        .find(|known| known.kind == edit::NONE);
    *free.expect("a free edit") = Edit {
        at: at as u16,
        kind: edit::STREAM,
    };
    template
}

/// Returns the same message between other stations.
pub(crate) fn between(mut template: Template, macs: [[u8; 6]; 2], to: [u8; 4]) -> Template {
    let [from_mac, to_mac] = macs;
    template.bytes[..6].copy_from_slice(&to_mac);
    template.bytes[6..12].copy_from_slice(&from_mac);
    let words = |bytes: &[u8]| -> u32 {
        let words = bytes.chunks(2);
        words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum()
    };
    let destination = &mut template.bytes[DESTINATION..DESTINATION + 4];
    template.sum = template.sum - words(destination) + words(&to);
    destination.copy_from_slice(&to);
    template
}

/// Fills a text to a length with bytes behind the body, which a receiver must ignore (RFC 3261 18.3).
pub(crate) fn fill(mut text: String, length: usize) -> String {
    assert!(text.len() <= length, "{} bytes are too many", text.len());
    text.extend(std::iter::repeat_n('\0', length - text.len()));
    text
}

/// Returns a message of a phone that writes its source address everywhere, so that an ALG has to correct all of them.
pub(crate) fn from_phone(random: &mut Random, method: &str, shape: Shape) -> Template {
    let terminal = Terminal::New;
    let text = request_with(random, method, terminal, shape, (terminal.address(), RTP));
    let source = Edit {
        at: SOURCE as u16,
        kind: edit::SOURCE_ADDRESS,
    };
    sip(
        datagram([60, 0, 0, 0], PBX, 5060, 5060, text.as_bytes()),
        Some(source),
    )
}

/// Returns a frame without edits.
pub(crate) fn frame(bytes: &[u8]) -> Template {
    let mut template = Template {
        len: bytes.len() as u32,
        sum: 0,
        edits: [Edit::default(); EDITS],
        bytes: [0; FRAME],
    };
    template.bytes[..bytes.len()].copy_from_slice(bytes);
    template
}

/// Returns UDP without a checksum, as IPv4 allows: the payload is changed later.
fn datagram(from: [u8; 4], to: [u8; 4], source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MACS[0], MACS[1])
        .ipv4(from, to, 64)
        .udp(source, destination);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a frame");
    frame[UDP + 6..UDP + 8].fill(0);
    frame
}

/// Finds the places in a frame that the kernel writes. It writes an address, too, if one is given.
fn sip(mut bytes: Vec<u8>, address: Option<Edit>) -> Template {
    let mut edits = Vec::from_iter(address);
    for at in HEADERS..bytes.len() {
        let stands_here = |(mark, _, len): &&(u8, u16, usize)| {
            let place = bytes.get(at..at + len);
            place.is_some_and(|place| place.iter().all(|byte| byte == mark))
        };
        let mark = MARKS.iter().find(stands_here);
        if let Some((_, kind, len)) = mark {
            edits.push(Edit {
                at: at as u16,
                kind: *kind,
            });
            bytes[at..at + len].fill(b'0');
        }
    }
    // The kernel adds the written address and its part of the checksum.
    let written = address.map_or(CHECKSUM, |address| usize::from(address.at));
    let words = (14..34)
        .step_by(2)
        .filter(|at| ![CHECKSUM, written, written + 2].contains(at));
    let sum = words
        .map(|at| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])))
        .sum();
    let mut template = Template {
        sum,
        ..frame(&bytes)
    };
    template.edits[..edits.len()].copy_from_slice(&edits);
    template
}

/// xorshift64: reproducible, and random enough for a mix.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            all.swap(i, self.below(i + 1));
        }
    }
}

/// Form of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Length of the SIP message alone, reached nearly.
    pub(crate) length: usize,
    /// Whether the headers that sipnat reads come after all others.
    pub(crate) wanted_last: bool,
}

/// Headers that sipnat ignores.
const OTHERS: [&str; 16] = [
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, UPDATE, PRACK, INFO, MESSAGE",
    "Allow: INVITE,ACK,OPTIONS,BYE,CANCEL,SUBSCRIBE,NOTIFY,REFER",
    "Supported: replaces, 100rel, timer, outbound, path",
    "Supported: replaces",
    "k: timer,replaces,norefersub",
    "Session-Expires: 1800;refresher=uac",
    "Min-SE: 90",
    "Accept: application/sdp, application/dtmf-relay, message/sipfrag",
    "Accept-Language: en",
    "Allow-Events: talk,hold,conference,refer,check-sync",
    "P-Preferred-Identity: <sip:anonymous@pbx.example.com>",
    "P-Early-Media: supported",
    "X-Serialnumber: 00041325A7F1",
    "Date: Fri, 21 Nov 2025 10:46:13 GMT",
    "Alert-Info: <http://pbx.example.com/ring.wav>;info=alert-internal",
    "Privacy: none",
];

const AGENTS: [&str; 10] = [
    "User-Agent: Yealink SIP-T46S 66.84.0.15",
    "User-Agent: snom320/8.7.5.35",
    "User-Agent: Grandstream GXP2160 1.0.11.27",
    "User-Agent: Linphone/3.12.0 (belle-sip/1.6.3)",
    "User-Agent: Cisco-CP7960G/8.0",
    "User-Agent: Zoiper rv2.10.20.4",
    "User-Agent: AVM FRITZ!Box 7490 113.07.29 TAL",
    "User-Agent: MicroSIP/3.21.3",
    "User-Agent: PolycomVVX-VVX_410-UA/5.9.5.0614",
    "User-Agent: baresip v1.0.0 (x86_64/Linux)",
];

const NAMES: [&str; 8] = [
    "",
    "",
    "\"Alice\" ",
    "\"Reception 2\" ",
    "Bob ",
    "\"Smith, John (Berlin)\" ",
    "\"1000\" ",
    "\"M. \\\"Max\\\" K.\" ",
];

/// Returns a request of a terminal.
pub(crate) fn request(
    random: &mut Random,
    method: &str,
    terminal: Terminal,
    shape: Shape,
) -> String {
    let (host, port) = private(random);
    request_with(random, method, terminal, shape, (&host, &port))
}

/// RTP address of a phone behind a NAT.
fn private(random: &mut Random) -> (String, String) {
    let host = format!("192.168.1.{}", 10 + random.below(90));
    (host, (10_000 + 2 * random.below(5000)).to_string())
}

/// Returns a request of a terminal with this RTP host and port.
fn request_with(
    random: &mut Random,
    method: &str,
    terminal: Terminal,
    shape: Shape,
    rtp: (&str, &str),
) -> String {
    let (id, address) = (terminal.id(), terminal.address());
    let short = random.chance(15);
    let name = |long: &'static str, compact: &'static str| if short { compact } else { long };
    let user = 100 + random.below(9_000_000);
    let callee = 100 + random.below(90_000);
    let port = random.one(&["", ":5060"]);
    let own = format!("{}<sip:{user}@{DOMAIN}>", random.one(&NAMES));
    let (uri, to) = if method == "REGISTER" {
        (format!("sip:{DOMAIN}"), own.clone())
    } else {
        let to = format!("<sip:{callee}@{DOMAIN}>");
        (format!("sip:{callee}@{DOMAIN}"), to)
    };
    let in_dialog = matches!(method, "ACK" | "BYE" | "UPDATE");
    let tag = if in_dialog {
        format!(";tag=as{callee:x}")
    } else {
        String::new()
    };
    let via = name("Via: ", "v: ");
    let rport = random.one(&["", "", ";rport"]);
    let mut wanted = vec![
        format!("{via}SIP/2.0/UDP {address}{port};branch=z9hG4bK-{id}{rport}"),
        format!("{}{own};tag={id}", name("From: ", "f: ")),
        format!("{}{to}{tag}", name("To: ", "t: ")),
        format!(
            "{}{id}@192.168.{}.{}",
            name("Call-ID: ", "i: "),
            1 + random.below(9),
            10 + random.below(90)
        ),
        format!("CSeq: {} {method}", 1 + random.below(9999)),
    ];
    if !matches!(method, "BYE" | "ACK") {
        let parameters = random.one(&["", "", ";transport=udp", ";ob"]);
        wanted.push(format!(
            "{}<sip:{user}@{address}{port}{parameters}>",
            name("Contact: ", "m: ")
        ));
    }
    if method == "REGISTER" {
        wanted.push(random.one(&["Expires: 3600", "Expires: 300"]).into());
    }
    // Via first, as in nearly all messages.
    random.shuffle(&mut wanted[1..]);
    finish(
        random,
        &format!("{method} {uri} SIP/2.0"),
        wanted,
        shape,
        (method == "INVITE").then_some(rtp),
    )
}

/// Returns a terminal's response to a request that the PBX never sent.
pub(crate) fn stray_response(random: &mut Random, shape: Shape) -> String {
    let (id, address) = (Terminal::New.id(), Terminal::New.address());
    let user = 100 + random.below(9_000_000);
    let status = random.one(&["200 OK", "180 Ringing", "486 Busy Here", "404 Not Found"]);
    let method = random.one(&["OPTIONS", "INVITE", "NOTIFY"]);
    let mut wanted = vec![
        format!("Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bK{id}"),
        format!("From: <sip:{DOMAIN}>;tag=as{user:x}"),
        format!("To: <sip:{user}@{DOMAIN}>;tag={id}"),
        format!("Call-ID: {id}@203.0.113.10"),
        format!("CSeq: 102 {method}"),
        format!("Contact: <sip:{user}@{address}>"),
    ];
    random.shuffle(&mut wanted[1..]);
    finish(random, &format!("SIP/2.0 {status}"), wanted, shape, None)
}

/// Returns the call of a known terminal.
pub(crate) fn call() -> String {
    let (id, address) = (Terminal::Picked.id(), Terminal::Picked.address());
    format!(
        "INVITE sip:1002@{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK-{id}\r\n\
         From: <sip:1000@{DOMAIN}>;tag={id}\r\n\
         To: <sip:1002@{DOMAIN}>\r\n\
         Call-ID: {id}@192.168.1.10\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:1000@{address}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns the terminal's ACK to the PBX's 200 to the [`call`], which shows that the terminal got that.
pub(crate) fn acknowledged() -> String {
    let (id, address) = (Terminal::Picked.id(), Terminal::Picked.address());
    format!(
        "ACK sip:1002@203.0.113.10 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK-ack-{id}\r\n\
         From: <sip:1000@{DOMAIN}>;tag={id}\r\n\
         To: <sip:1002@{DOMAIN}>;tag=pbx\r\n\
         Call-ID: {id}@192.168.1.10\r\n\
         CSeq: 1 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns the REGISTER of a known terminal, for an address-of-record of its own.
pub(crate) fn register() -> String {
    let (id, address) = (Terminal::Picked.id(), Terminal::Picked.address());
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK-reg-{id}\r\n\
         From: <sip:{id}@{DOMAIN}>;tag=reg-{id}\r\n\
         To: <sip:{id}@{DOMAIN}>\r\n\
         Call-ID: reg-{id}@192.168.1.10\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:{id}@{address}>\r\n\
         Expires: 3600\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns a call of the PBX to a terminal that has sent its [`register`].
pub(crate) fn call_to_registered() -> String {
    let (id, address) = (Terminal::Picked.id(), Terminal::Picked.address());
    format!(
        "INVITE sip:{id}@{address} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKcall{id}\r\n\
         From: <sip:1002@{DOMAIN}>;tag=pbx\r\n\
         To: <sip:{id}@{DOMAIN}>\r\n\
         Call-ID: call-{id}@203.0.113.10\r\n\
         CSeq: 102 INVITE\r\n\
         Contact: <sip:1002@203.0.113.10:5060>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns a REGISTER of one account, each with another Contact.
pub(crate) fn register_of_account() -> String {
    let id = Terminal::New.id();
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 60.1.2.3;branch=z9hG4bK-{id}\r\n\
         From: <sip:account@{DOMAIN}>;tag={id}\r\n\
         To: <sip:account@{DOMAIN}>\r\n\
         Call-ID: {id}@60.1.2.3\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:{id}@60.1.2.3>\r\n\
         Expires: 3600\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns a request with the tags of a dialog that nobody knows.
pub(crate) fn in_unknown_dialog(method: &str) -> String {
    let (id, address) = (Terminal::New.id(), Terminal::New.address());
    format!(
        "{method} sip:1002@{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK-{id}\r\n\
         From: <sip:1000@{DOMAIN}>;tag={id}\r\n\
         To: <sip:1002@{DOMAIN}>;tag=as1\r\n\
         Call-ID: {id}@192.168.1.10\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:1000@{address}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Replaces the public address of a known terminal in a message by its private one.
pub(crate) fn behind_nat(text: &str) -> String {
    text.replace(Terminal::Picked.address(), &PRIVATE.to_string())
}

/// Returns the PBX's response to a request. One beyond 100 has the PBX's tag.
pub(crate) fn answer(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().skip(1).take_while(|line| !line.is_empty()) {
        let (name, _) = line.split_once(':').expect("a header");
        let name = name.trim_end();
        let is = |long: &str, compact: &str| name.eq_ignore_ascii_case(long) || name == compact;
        let is_to = is("To", "t");
        if is_to || is("Via", "v") || is("From", "f") || is("Call-ID", "i") || is("CSeq", "") {
            text += line;
            if is_to && !line.contains(";tag=") && !status.starts_with("100") {
                text += ";tag=pbx";
            }
            text += "\r\n";
        }
    }
    text + "Content-Length: 0\r\n\r\n"
}

/// Returns a request of the PBX within the [`call`], in the form of Asterisk, FreeSWITCH and others.
pub(crate) fn in_dialog(random: &mut Random, method: &str, shape: Shape) -> String {
    let (id, address) = (Terminal::Picked.id(), Terminal::Picked.address());
    let transaction = Terminal::New.id();
    let cseq = 2 + random.below(9999);
    let mut wanted = vec![
        format!(
            "Via: SIP/2.0/UDP 203.0.113.10:5060;{}branch=z9hG4bK{transaction}",
            random.one(&["", "rport;"])
        ),
        format!("From: <sip:1002@{DOMAIN}>;tag=pbx"),
        format!("To: {}<sip:1000@{DOMAIN}>;tag={id}", random.one(&NAMES)),
        format!("Call-ID: {id}@192.168.1.10"),
        format!("CSeq: {cseq} {method}"),
        "Contact: <sip:1002@203.0.113.10:5060>".into(),
    ];
    random.shuffle(&mut wanted[1..]);
    let start = format!("{method} sip:1000@{address} SIP/2.0");
    let (host, port) = private(random);
    let rtp = (method == "INVITE").then_some((host.as_str(), port.as_str()));
    finish(random, &start, wanted, shape, rtp)
}

/// Adds other headers and a session with RTP there, until the message has its length.
fn finish(
    random: &mut Random,
    start: &str,
    wanted: Vec<String>,
    shape: Shape,
    rtp: Option<(&str, &str)>,
) -> String {
    /// Length of Content-Type and Content-Length.
    const REST: usize = 52;
    let length = |lines: &[String]| lines.iter().map(|line| line.len() + 2).sum::<usize>();
    let wanted_length = start.len() + 2 + length(&wanted) + REST;
    // Other headers take about this share of the free length.
    let room = shape.length.saturating_sub(wanted_length);
    let room = if rtp.is_some() { room * 2 / 5 } else { room };
    let mut others = vec!["Max-Forwards: 70".to_owned(), random.one(&AGENTS).into()];
    let mut supply = OTHERS.to_vec();
    random.shuffle(&mut supply);
    for line in supply {
        if length(&others) + line.len() + 2 <= room {
            others.push(line.into());
        }
    }
    let mut lines = Vec::new();
    if shape.wanted_last {
        lines.extend(others);
        lines.extend(wanted);
    } else {
        // The headers that sipnat reads are mostly at the top, with others between them.
        lines.extend(wanted);
        for line in others {
            let at = 1 + random.below(lines.len());
            let at = if random.chance(50) { lines.len() } else { at };
            lines.insert(at, line);
        }
    }
    let head = start.len() + 2 + length(&lines) + REST;
    let body = rtp
        .map(|rtp| session(random, rtp, shape.length.saturating_sub(head)))
        .unwrap_or_default();
    if !body.is_empty() {
        lines.push("Content-Type: application/sdp".into());
    }
    lines.push(format!("Content-Length: {}", body.len()));
    format!("{start}\r\n{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// Returns a session description of about this length; none if it would not fit.
fn session(random: &mut Random, (host, port): (&str, &str), length: usize) -> String {
    const CODECS: [&str; 12] = [
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:18 G729/8000",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1;maxaveragebitrate=40000",
        "a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics",
        "a=sendrecv",
    ];
    let number = 1_000_000 + random.below(9_000_000);
    let mut text = format!(
        "v=0\r\no=- {number} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 9 18 101\r\n",
    );
    if text.len() > length {
        return String::new();
    }
    let mut codecs = CODECS.to_vec();
    random.shuffle(&mut codecs);
    for line in codecs.iter().cycle().take(3 * CODECS.len()) {
        if text.len() + line.len() + 2 <= length {
            text += line;
            text += "\r\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use nat_common::bpf::HostLoop;
    use nat_common::sip::{Direction, Scan};

    use super::*;

    /// A mix that the fast path of the scanner does not read would measure its machine only.
    #[test]
    fn requests_are_usual() {
        let mut random = Random::new(1);
        let mut usual = 0;
        let shape = Shape {
            length: 590,
            wanted_last: false,
        };
        for _ in 0..MIX {
            let mut text = request(&mut random, "INVITE", Terminal::New, shape).into_bytes();
            for byte in &mut text {
                if *byte < 6 {
                    *byte = b'1';
                }
            }
            let mut scan = Scan::default();
            scan.walk::<_, HostLoop>(text.as_slice());
            usual += usize::from(scan.read_usual(text.as_slice(), Some(Direction::In)));
        }
        assert_eq!(usual, MIX);
    }
}
