//! Capture files: pcap and pcapng.

use std::{
    fs::File,
    io::{self, Read, Seek as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use pcap_parser::{
    Block, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock as _,
};

mod link;
mod packet;
mod write;

pub use link::Link;
pub use packet::{Ip, complete_checksum};
pub use write::Writer;

/// Packet of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'f> {
    /// Its number in the file, from 1 on, as in Wireshark.
    pub number: usize,
    /// Its time, in nanoseconds since 1970; none if the file has none for it.
    pub time: Option<u64>,
    /// Link layer.
    pub link: Link,
    /// The frame, as far as the file holds it.
    pub frame: &'f [u8],
    /// Length of the frame on the wire.
    pub sent: usize,
}

impl Packet<'_> {
    /// Whether the file holds the whole frame.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.frame.len() >= self.sent
    }
}

/// End of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind its last packet.
    Whole,
    /// Within the packet of this number, or what stands in its place.
    Within(usize),
}

/// Whether a file is a capture, by its first four bytes.
#[must_use]
pub const fn is_capture(file: &[u8]) -> bool {
    // pcap in both byte orders, with times in microseconds and in nanoseconds; pcapng.
    matches!(
        file,
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
            | [0x0a, 0x0d, 0x0d, 0x0a, ..]
    )
}

/// Opens a capture file.
///
/// # Errors
/// If it cannot be read, or is none.
pub fn open(path: &Path) -> Result<File> {
    let name = path.display();
    let cannot_read = || format!("cannot read {name}");
    // Before it is opened: opening a FIFO would wait for a writer.
    let metadata = path.metadata().with_context(cannot_read)?;
    ensure!(
        metadata.is_file(),
        "{name} is not a regular file; a capture is read twice"
    );
    let mut file = File::open(path).with_context(cannot_read)?;
    let mut head = Vec::new();
    (&file)
        .take(4)
        .read_to_end(&mut head)
        .with_context(cannot_read)?;
    file.rewind().with_context(cannot_read)?;
    match head[..] {
        [] => bail!("{name} is empty"),
        // gzip, zstd, xz, lz4, bzip2.
        [0x1f, 0x8b, ..]
        | [0x28, 0xb5, 0x2f, 0xfd]
        | [0xfd, b'7', b'z', b'X']
        | [0x04, 0x22, 0x4d, 0x18]
        | [b'B', b'Z', b'h', _] => bail!("{name} is compressed: decompress it first"),
        _ if !is_capture(&head) => bail!("{name} is not a capture: neither pcap nor pcapng"),
        _ => Ok(file),
    }
}

/// Calls `visit` with the packets of a capture file, one by one.
///
/// # Errors
/// If the file is not a capture, is malformed, or cannot be read, or as `visit` says.
pub fn read(
    file: impl Read + Send,
    mut visit: impl FnMut(&Packet<'_>) -> Result<()>,
) -> Result<End> {
    /// Four times the largest packet that captures hold.
    const BUFFER: usize = 1 << 20;
    let mut number = 0;
    let mut big_endian = false;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut blocks = create_reader(BUFFER, Whole(file)).map_err(|error| match error {
        PcapError::ReadError => anyhow!("cannot be read"),
        _ => anyhow!("not a capture, or cut in its header"),
    })?;
    loop {
        let (len, block) = match blocks.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return Ok(End::Whole),
            Err(PcapError::UnexpectedEof) => return Ok(End::Within(number + 1)),
            Err(PcapError::Incomplete(_)) => {
                let before = blocks.data().len();
                if blocks.refill().is_err() {
                    bail!("cannot be read after packet {number}");
                }
                let has_more = blocks.data().len() > before || blocks.reader_exhausted();
                ensure!(has_more, malformed(number));
                continue;
            }
            Err(_) => bail!(malformed(number)),
        };
        let packet = match &block {
            PcapBlockOwned::LegacyHeader(header) => {
                interfaces = vec![Interface {
                    link: header.network.0.into(),
                    ticks: Ticks::Decimal(if header.is_nanosecond_precision() {
                        9
                    } else {
                        6
                    }),
                    offset: 0,
                }];
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                // The fraction counts in the file's unit.
                let ticks = interfaces.first().map_or(0, |it| it.ticks.in_a_second());
                let time = u128::from(packet.ts_sec) * ticks + u128::from(packet.ts_usec);
                Some((0, packet.data, packet.origlen, Some(time)))
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                interfaces.clear();
                big_endian = section.big_endian();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                interfaces.push(Interface {
                    link: interface.linktype.0.into(),
                    ticks: Ticks::of(interface.if_tsresol),
                    // The crate reads it as little-endian in any file.
                    offset: if big_endian {
                        interface.if_tsoffset.swap_bytes()
                    } else {
                        interface.if_tsoffset
                    },
                });
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let time = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let data = packet.packet_data();
                Some((packet.if_id, data, packet.origlen, Some(time)))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                Some((0, packet.packet_data(), packet.origlen, None))
            }
            PcapBlockOwned::NG(_) => None,
        };
        if let Some((interface, frame, sent, time)) = packet {
            number += 1;
            let Some(interface) = interfaces.get(interface as usize) else {
                bail!("packet {number}: interface {interface} is not described");
            };
            visit(&Packet {
                number,
                time: time.and_then(|time| interface.time(time)),
                link: interface.link,
                frame,
                sent: sent as usize,
            })?;
        }
        blocks.consume(len);
    }
}

fn malformed(number: usize) -> String {
    format!("malformed after packet {number}: what follows is no packet")
}

/// Interface that a capture file describes.
struct Interface {
    link: Link,
    ticks: Ticks,
    /// Seconds to add to times.
    offset: i64,
}

impl Interface {
    /// Converts a time to nanoseconds.
    fn time(&self, time: u128) -> Option<u64> {
        const SECOND: u128 = 1_000_000_000;
        let since = time.checked_mul(SECOND)? / self.ticks.in_a_second();
        let offset = i128::from(self.offset) * SECOND as i128;
        u64::try_from(i128::try_from(since).ok()? + offset).ok()
    }
}

/// Unit of times: a second has so many powers of ten or of two.
#[derive(Clone, Copy)]
enum Ticks {
    Decimal(u32),
    Binary(u32),
}

impl Ticks {
    /// Reads the option `if_tsresol` of pcapng.
    const fn of(option: u8) -> Self {
        const BINARY: u8 = 0x80;
        let exponent = (option & !BINARY) as u32;
        if option & BINARY == 0 {
            Self::Decimal(exponent)
        } else {
            Self::Binary(exponent)
        }
    }

    const fn in_a_second(self) -> u128 {
        // Beyond, 64 bits of ticks are no second.
        match self {
            Self::Decimal(exponent) => 10_u128.saturating_pow(exponent),
            Self::Binary(exponent) => 1 << if exponent < 127 { exponent } else { 127 },
        }
    }
}

/// Reads as much as there is: the reader of a capture takes a header that comes in two pieces for none.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            match self.0.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = b"0123456789abcdef-frame";
    /// 2023-11-14 22:13:20.123456789.
    const TIME: u64 = 1_700_000_000_123_456_789;

    /// Numbers of a file in one byte order.
    #[derive(Clone, Copy)]
    struct Order {
        big: bool,
    }

    impl Order {
        fn u16(self, n: u16) -> Vec<u8> {
            let bytes = if self.big {
                n.to_be_bytes()
            } else {
                n.to_le_bytes()
            };
            bytes.to_vec()
        }

        fn u32(self, n: u32) -> Vec<u8> {
            let bytes = if self.big {
                n.to_be_bytes()
            } else {
                n.to_le_bytes()
            };
            bytes.to_vec()
        }

        /// A pcap file of Ethernet frames, of each of which so many bytes are missing.
        fn pcap(self, nanoseconds: bool, missing: &[u32]) -> Vec<u8> {
            let magic = if nanoseconds {
                0xa1b2_3c4d
            } else {
                0xa1b2_c3d4
            };
            let fraction = TIME % 1_000_000_000 / if nanoseconds { 1 } else { 1000 };
            let len = FRAME.len() as u32;
            let mut file = self.u32(magic);
            file.extend([self.u16(2), self.u16(4)].concat());
            file.extend([0, 0, 65535, 1].map(|n| self.u32(n)).concat());
            for missing in missing {
                let numbers = [1_700_000_000, fraction as u32, len, len + missing];
                file.extend(numbers.map(|n| self.u32(n)).concat());
                file.extend(FRAME);
            }
            file
        }

        /// A block of a pcapng file.
        fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
            let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
            let len = self.u32((12 + body.len() + padding.len()) as u32);
            [&self.u32(kind), &len, body, &padding, &len].concat()
        }

        fn section(self) -> Vec<u8> {
            let body = [
                self.u32(0x1a2b_3c4d),
                self.u16(1),
                self.u16(0),
                vec![0xff; 8],
            ];
            self.block(0x0a0d_0d0a, &body.concat())
        }

        /// An interface, with options.
        fn interface(self, options: &[u8]) -> Vec<u8> {
            let body = [self.u16(1), self.u16(0), self.u32(0), options.to_vec()];
            self.block(1, &body.concat())
        }

        fn enhanced(self, interface: u32, time: u64) -> Vec<u8> {
            let len = FRAME.len() as u32;
            let numbers = [interface, (time >> 32) as u32, time as u32, len, len];
            let body = [&numbers.map(|n| self.u32(n)).concat(), FRAME].concat();
            self.block(6, &body)
        }
    }

    /// Time and length of a packet.
    type Seen = (Option<u64>, usize);

    /// The packets of a file, and its end.
    fn packets(file: &[u8]) -> Result<(Vec<Seen>, End)> {
        let mut all = Vec::new();
        let end = read(file, |packet| {
            assert_eq!((packet.link, packet.frame), (Link::Ethernet, FRAME));
            all.push((packet.time, packet.sent));
            assert_eq!(packet.number, all.len());
            Ok(())
        })?;
        Ok((all, end))
    }

    #[test]
    fn pcap_of_every_kind_is_read() {
        for big in [false, true] {
            for (nanoseconds, time) in [(true, TIME), (false, TIME / 1000 * 1000)] {
                let file = Order { big }.pcap(nanoseconds, &[0, 3]);
                assert!(is_capture(&file));
                let len = FRAME.len();
                let expected = vec![(Some(time), len), (Some(time), len + 3)];
                assert_eq!(packets(&file).unwrap(), (expected, End::Whole));
            }
        }
    }

    #[test]
    fn pcapng_has_its_own_clocks() {
        for big in [false, true] {
            let it = Order { big };
            let option = |code: u16, value: &[u8]| {
                let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
                [
                    it.u16(code),
                    it.u16(value.len() as u16),
                    value.to_vec(),
                    padding,
                ]
                .concat()
            };
            let end = option(0, &[]);
            let resolution = |exponent| [option(9, &[exponent]), end.clone()].concat();
            let offset = if big {
                100_i64.to_be_bytes()
            } else {
                100_i64.to_le_bytes()
            };
            let shifted = [option(14, &offset), end.clone()].concat();
            for (options, time, expected) in [
                (vec![], TIME / 1000, TIME / 1000 * 1000),
                (resolution(9), TIME, TIME),
                (
                    resolution(3),
                    TIME / 1_000_000,
                    TIME / 1_000_000 * 1_000_000,
                ),
                (resolution(0x81), 5, 2_500_000_000),
                (shifted, 1_000_000, 101_000_000_000),
            ] {
                let statistics = it.block(5, &[0; 12]);
                let simple = it.block(3, &[&it.u32(FRAME.len() as u32)[..], FRAME].concat());
                let file = [
                    it.section(),
                    it.interface(&options),
                    statistics,
                    it.enhanced(0, time),
                    simple,
                ];
                let file = file.concat();
                assert!(is_capture(&file));
                let len = FRAME.len();
                let expected = vec![(Some(expected), len), (None, len)];
                assert_eq!(packets(&file).unwrap(), (expected, End::Whole));
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_is_read_to_there() {
        let it = Order { big: false };
        let pcapng = [
            it.section(),
            it.interface(&[]),
            it.enhanced(0, 1),
            it.enhanced(0, 2),
        ];
        for file in [it.pcap(false, &[0, 0]), pcapng.concat()] {
            for missing in 1..FRAME.len() {
                let (read, end) = packets(&file[..file.len() - missing]).unwrap();
                assert_eq!((read.len(), end), (1, End::Within(2)), "{missing}");
            }
        }
    }

    #[test]
    fn what_is_broken_is_named_with_its_packet() {
        let it = Order { big: false };
        let head = || [it.section(), it.interface(&[])].concat();
        let mut long = it.pcap(false, &[0; 3]);
        let second = 24 + 16 + FRAME.len();
        long[second + 8..second + 12].fill(0xff);
        long.resize(3 << 20, 0);
        let mut lengths = [head(), it.enhanced(0, 1)].concat();
        let last = lengths.len() - 4;
        lengths[last] ^= 1;
        for (file, why) in [
            (&b"GIF89a-and-so-on-and-so-on"[..], "not a capture"),
            (
                &it.pcap(false, &[])[..20],
                "not a capture, or cut in its header",
            ),
            (&it.section()[..20], "not a capture, or cut in its header"),
            (&long, "malformed after packet 1: "),
            (
                &[head(), it.enhanced(0, 1), it.enhanced(7, 1)].concat(),
                "packet 2: interface 7 is not described",
            ),
            (
                &[it.section(), it.enhanced(0, 1)].concat(),
                "packet 1: interface 0 is not described",
            ),
            (&lengths, "malformed after packet 0: "),
            (
                &[head(), it.enhanced(0, 1), vec![0; 64]].concat(),
                "malformed after packet 1: ",
            ),
        ] {
            let error = packets(file).unwrap_err().to_string();
            assert!(error.starts_with(why), "{why}: {error}");
        }
    }

    #[test]
    fn what_is_no_capture_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (content, why) in [
            (&b""[..], "is empty"),
            (b"\x1f\x8b\x08\x00", "is compressed"),
            (b"\x28\xb5\x2f\xfd", "is compressed"),
            (b"MZ", "is not a capture"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        let error = format!("{:#}", open(&directory.path().join("none")).unwrap_err());
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let packet = [&[0x45][..], FRAME].concat();
        let tagged = [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0], &packet].concat();
        for (raw, link, expected) in [(false, Link::Ethernet, &tagged), (true, Link::Raw, &packet)]
        {
            let mut file = Vec::new();
            let mut writer = Writer::new(&mut file, raw).unwrap();
            writer.write(TIME, &tagged, 0).unwrap();
            writer.write(TIME + 1, &tagged, 5).unwrap();
            writer.finish().unwrap();
            let mut times = Vec::new();
            let end = read(&file[..], |packet| {
                assert_eq!((packet.link, packet.frame), (link, &expected[..]));
                times.push((packet.time.unwrap(), packet.sent - packet.frame.len()));
                Ok(())
            });
            assert_eq!(end.unwrap(), End::Whole);
            assert_eq!(times, [(TIME, 0), (TIME + 1, 5)]);
        }
    }
}
