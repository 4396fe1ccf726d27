//! Puts the SIP messages of test suites through the scanners, and lists those in doubt.

mod packets;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    panic::{self, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use nat_common::{
    bpf::HostLoop,
    bytes::Source as _,
    datagram::{DatagramKind, classify},
    sdp::{self, LineFlags, NoDescription},
    sip::{self, Direction, Doubt, Field, Scan, header},
};
use nat_test_oracle::{plain, reference, scan_for};
use nat_userspace::host::capture::is_capture;

use packets::Skipped;

/// Puts the SIP messages of test suites through the scanners, and lists those in doubt.
///
/// Each folder or file in DIR is a suite. Its captures (pcap, pcapng) and its text files that begin like SIP are read. A text
/// file is one message. If it has no CRLF, its lines are read as if they ended so. A message that occurs twice counts once.
///
/// Fragments, packets of which a capture holds a part, and SIP over TCP are counted only.
///
/// A line of the list has the place, the direction or scanner, the doubt, and the header or line that causes it. A
/// place is a file, with the number of the packet.
#[derive(Parser)]
#[command(name = "sipnat-captures")]
struct Cli {
    /// Folder of the suites
    dir: PathBuf,
    /// Folder that gets a file for each message
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
}

/// Messages of a suite, and packets that were not read.
#[derive(Default)]
struct Suite {
    messages: Vec<Message>,
    skipped: BTreeMap<Skipped, usize>,
}

/// A message, with the place where it was found.
struct Message {
    place: String,
    text: Vec<u8>,
}

/// Numbers of messages of a suite.
#[derive(Default)]
struct Figures {
    messages: usize,
    /// Read in both directions.
    read: usize,
    /// In doubt in one direction or both.
    in_doubt: usize,
    /// With a session description.
    descriptions: usize,
    /// Read alike by `rsip`, the reference parser.
    alike: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(folder) = &cli.save {
        fs::create_dir_all(folder)?;
    }
    let mut seen = HashSet::new();
    println!(
        "{:40} {:>8} {:>8} {:>8} {:>8} {:>8}  not read",
        "suite", "messages", "read", "in doubt", "with SDP", "as rsip"
    );
    let mut doubts = Vec::new();
    for path in entries(&cli.dir)? {
        let mut suite = Suite::default();
        suite.walk(&path)?;
        suite
            .messages
            .retain(|message| seen.insert(message.text.clone()));
        if suite.messages.is_empty() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().display().to_string();
        let mut figures = Figures::default();
        for message in &suite.messages {
            figures.add(message, &mut doubts);
            if let Some(folder) = &cli.save {
                let file = format!("{name}-{:04}.sip", figures.messages);
                fs::write(folder.join(file), &message.text)?;
            }
        }
        println!(
            "{:40} {:8} {:8} {:8} {:8} {:8}  {}",
            name,
            figures.messages,
            figures.read,
            figures.in_doubt,
            figures.descriptions,
            figures.alike,
            described(&suite.skipped)
        );
    }
    println!();
    for doubt in doubts {
        println!("{doubt}");
    }
    Ok(())
}

/// Describes the packets that were not read.
fn described(skipped: &BTreeMap<Skipped, usize>) -> String {
    let parts = skipped.iter().map(|(why, count)| match why {
        Skipped::Fragment => format!("{count} fragments"),
        Skipped::Tcp => format!("{count} TCP"),
        Skipped::Cut => format!("{count} cut"),
        Skipped::Link(link) => format!("{count} of link type {link}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the entries of a folder, in the order of their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

impl Suite {
    /// Reads a file, or the files below a folder. Symbolic links are not followed.
    fn walk(&mut self, path: &Path) -> Result<()> {
        if path.is_symlink() {
            return Ok(());
        }
        if path.is_dir() {
            return entries(path)?.iter().try_for_each(|path| self.walk(path));
        }
        let place = path.display().to_string();
        let file = fs::read(path).with_context(|| place.clone())?;
        self.file(&place, &file);
        Ok(())
    }

    /// Adds the messages of a file.
    fn file(&mut self, path: &str, file: &[u8]) {
        if !is_capture(file) {
            if begins_like_sip(file) {
                self.messages.push(Message {
                    place: path.to_owned(),
                    text: with_line_ends(file),
                });
            }
            return;
        }
        let capture = match packets::read(file, begins_like_sip) {
            Ok(capture) => capture,
            Err(error) => return eprintln!("{path}: {error:#}"),
        };
        for datagram in capture.datagrams {
            let text = datagram.payload;
            let kind = classify(text.len() as u32, text.word(0));
            let on_port = datagram.ports.contains(&5060) && kind == DatagramKind::Sip;
            if on_port || begins_like_sip(&text) {
                self.messages.push(Message {
                    place: format!("{path}:{}", datagram.number),
                    text,
                });
            }
        }
        for (why, count) in capture.skipped {
            *self.skipped.entry(why).or_default() += count;
        }
    }
}

/// Whether a text begins with the start line of a SIP message, of whatever version.
fn begins_like_sip(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let line = text.split(|b| matches!(b, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default().trim_ascii_end();
    let is_version = |word: &[u8]| matches!(word, [b'S', b'I', b'P', b'/', b'0'..=b'9', ..]);
    // No character of a token (RFC 3261 25.1), but of source text.
    let is_method = |word: &[u8]| !word.iter().any(|b| b"\"(){}[]<>,:;=@/\\".contains(b));
    let mut words = line.split(|b| *b == b' ');
    let first = words.next().unwrap_or_default();
    is_version(first) || is_method(first) && words.next_back().is_some_and(is_version)
}

/// Returns a text whose lines all end with CRLF, if none did.
fn with_line_ends(text: &[u8]) -> Vec<u8> {
    if text.windows(2).any(|w| w == b"\r\n") {
        return text.to_vec();
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut all = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        all.extend(line);
        all.extend(b"\r\n");
    }
    all
}

impl Figures {
    /// Reads a message, and appends its doubts.
    fn add(&mut self, message: &Message, doubts: &mut Vec<String>) {
        let Message { place, text } = message;
        let mut doubt = |scanner: &str, what: String| {
            doubts.push(format!("{place}\t{scanner}\t{what}"));
        };
        self.messages += 1;
        if classify(text.len() as u32, text.word(0)) != DatagramKind::Sip {
            doubt("datagram", "not taken for SIP".into());
        }
        let scans = [Direction::In, Direction::Out].map(|direction| {
            let why = scan_for(text, direction).err()?;
            Some(format!("{why:?}\t{}", cause(text, direction, why)))
        });
        match &scans {
            [Some(a), Some(b)] if a == b => doubt("both", a.clone()),
            [a, b] => {
                a.iter().for_each(|why| doubt("In", why.clone()));
                b.iter().for_each(|why| doubt("Out", why.clone()));
            }
        }
        let read = scans == [None, None];
        if read {
            self.read += 1;
        } else {
            self.in_doubt += 1;
        }
        if let Ok(message) = sip::read(text) {
            let contact = text.split(|b| *b == b'\n').find(|line| is_contact(line));
            if let (Some(line), 0) = (contact, message.contacts) {
                doubt("Contact", format!("none\t{}", shown(line)));
            }
            match sdp::read(text) {
                Ok(description) => {
                    self.descriptions += 1;
                    let media = text.split(|b| *b == b'\n').filter(|l| l.starts_with(b"m="));
                    for (line, text) in description.lines.iter().zip(media) {
                        if line.flags.contains(LineFlags::UNREADABLE) {
                            doubt("SDP", format!("unreadable\t{}", shown(text)));
                        }
                    }
                }
                Err(NoDescription::Absent | NoDescription::OtherType) => {}
                Err(why) => doubt("SDP", format!("{why:?}")),
            }
        }
        let ours = reference::scanned(text);
        // `rsip` panics on some messages, the plain reader on one that it reads otherwise.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let other = catch_unwind(|| reference::parsed(text)).ok().flatten();
        let plain = catch_unwind(|| plain::check(text));
        panic::set_hook(hook);
        if plain.is_err() {
            doubt("plain", "read otherwise".into());
        }
        if let (Some(ours), Some(other)) = (ours, other) {
            if ours.agrees(&other) {
                self.alike += 1;
            } else {
                doubt("rsip", format!("{ours:?} {other:?}"));
            }
        }
    }
}

/// Returns the header at which a scan stops, or the headers that it misses.
fn cause(text: &[u8], direction: Direction, why: Doubt) -> String {
    if why == Doubt::Missing {
        let mut scan = Scan::default();
        let _ = scan.run::<_, HostLoop>(text, Some(direction));
        let message = *scan.message();
        let mut missing = vec![];
        for (header, name) in [
            (header::VIA, "Via"),
            (header::FROM, "From"),
            (header::TO, "To"),
            (header::CALL_ID, "Call-ID"),
            (header::CSEQ, "CSeq"),
        ] {
            if message.headers & header == 0 {
                missing.push(name);
            }
        }
        if !message.has(Field::Branch) {
            missing.push("branch");
        }
        return missing.join(", ");
    }
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive(|b| *b == b'\n') {
        end += line.len();
        // A header ends before a line that does not continue it.
        if matches!(text.get(end), Some(b' ' | b'\t')) {
            continue;
        }
        if scan_for(&text[..end], direction) == Err(why) {
            return shown(&text[start..end]);
        }
        start = end;
    }
    String::new()
}

/// Whether a line is a Contact header, long or compact.
fn is_contact(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        return false;
    };
    let name = line[..colon].trim_ascii_end();
    name.eq_ignore_ascii_case(b"contact") || name.eq_ignore_ascii_case(b"m")
}

/// Returns a line for the list, cut to some hundred characters.
fn shown(line: &[u8]) -> String {
    line.escape_ascii().to_string().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_lines() {
        for (text, want) in [
            (&b"INVITE sip:a SIP/2.0\r\n"[..], true),
            (b"\r\nSIP/2.0 200 OK\r\n", true),
            (b"OPTIONS sip:a SIP/7.0  \nVia: x", true),
            (b"SIP/2.0", true),
            (b"{\"first\": \"INVITE sip:a SIP/2.0", false),
            (b"INVITE sip:a\r\nSIP/2.0", false),
            (b"SIP is a protocol", false),
            (b"", false),
        ] {
            assert_eq!(begins_like_sip(text), want, "{text:?}");
        }
    }

    #[test]
    fn lines_of_a_text_end_with_crlf() {
        assert_eq!(with_line_ends(b"a\nb\n\nc\n"), b"a\r\nb\r\n\r\nc\r\n");
        assert_eq!(with_line_ends(b"a\r\nb\n"), b"a\r\nb\n");
    }

    #[test]
    fn a_message_in_doubt_is_listed() {
        let text = "BYE sip:a SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: <sip:a@b>\r\nt: <sip:c@d>\r\n\
            i: call\r\nCSeq: 1 BYE\r\nc: application/sdp\r\n\r\nv=0\r\nm=audio 1/2 RTP/AVP 0\r\n";
        let mut figures = Figures::default();
        let mut doubts = Vec::new();
        for text in [text, &text.replace("i: call\r\n", "")] {
            let message = Message {
                place: "p".into(),
                text: text.into(),
            };
            figures.add(&message, &mut doubts);
        }
        assert_eq!((figures.messages, figures.read), (2, 1));
        assert_eq!((figures.in_doubt, figures.descriptions), (1, 1));
        assert_eq!(
            doubts,
            [
                "p\tSDP\tunreadable\tm=audio 1/2 RTP/AVP 0\\r",
                "p\tboth\tMissing\tCall-ID, branch",
            ]
        );
    }

    #[test]
    fn the_cause_is_a_whole_header() {
        let text =
            b"BYE sip:a SIP/2.0\r\nv:\r\n SIP/2.0/UDP h\r\nf:\r\n <sip:a b>\r\nt: <sip:c@d>\r\n\
            i: c\r\nCSeq: 1 BYE\r\n\r\n";
        assert_eq!(
            cause(text, Direction::Out, Doubt::Syntax),
            "f:\\r\\n <sip:a b>\\r\\n"
        );
    }
}
