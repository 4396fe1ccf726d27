//! Types that the kernel programs of the benchmarks and their user space exchange through BPF maps, and identities
//! that both derive from a number.
#![no_std]

/// Size of a frame's buffer.
pub const FRAME: usize = 2048;
/// Edits of a frame, at most.
pub const EDITS: usize = 10;
/// Templates, at most.
pub const TEMPLATES: u32 = 1024;

/// Number of calls that the program `calls` makes.
pub const CALLS: u32 = 16;

/// Names of the maps.
pub mod map {
    /// `Array<Job>`, one entry.
    pub const JOB: &str = "JOB";
    /// `Array<Template>`.
    pub const TEMPLATES: &str = "TEMPLATES";
    /// `ProgramArray`: the XDP program that gets the packets of `feed`.
    pub const XDP: &str = "XDP";
    /// `ProgramArray`: the TC program that gets the packets of `feed_tc`.
    pub const TC: &str = "TC";
    /// `PerCpuArray<u64>`, indexed by [`crate::seen`].
    pub const SEEN: &str = "SEEN";
    /// `Array<Sample>`, one entry: an answer, sampled.
    pub const SAMPLE: &str = "SAMPLE";
}

/// Marks of packets of the kernel's pktgen.
pub mod pktgen {
    /// UDP port, unless another is set: discard.
    pub const PORT: u16 = 9;
    /// First bytes of the payload.
    pub const MAGIC: u32 = 0xbe9b_e955;
}

/// Indexes of counters.
pub mod seen {
    /// `answers`: expected answers.
    pub const RIGHT: u32 = 0;
    /// `answers`: all other packets.
    pub const OTHER: u32 = 1;
    /// `count`: all packets.
    pub const ANY: u32 = 2;
    /// Number of counters.
    pub const COUNT: u32 = 3;
}

/// Job of the program that writes messages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Number of the next packet.
    pub next: u64,
    /// `send`: nanoseconds between packets; 0 is without pause.
    pub interval: u64,
    /// `send`: time of the next packet, nanoseconds of `CLOCK_MONOTONIC`.
    pub due: u64,
    /// Number of templates, a power of two, less one.
    pub templates: u32,
    /// Number of known identities, a power of two, less one.
    pub picks: u32,
    /// Not 0: templates and identities in random order, else consecutive.
    pub random: u32,
    /// `send`: interface for sending.
    pub ifindex: u32,
    /// `feed`: length of the packet that was fed last.
    pub last: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// Kinds of edits of a frame; [`PICKED`] chooses the identity.
pub mod edit {
    /// Nothing.
    pub const NONE: u16 = 0;
    /// Source address and port, in the IPv4 and UDP headers.
    pub const SOURCE: u16 = 1;
    /// Destination address and port: where the identity's packets come from.
    pub const DESTINATION: u16 = 2;
    /// Identity in eight hexadecimal digits.
    pub const HEX: u16 = 3;
    /// Identity in four bytes.
    pub const RAW: u16 = 4;
    /// Last three numbers of the identity's address, three digits each: `101.202.103`.
    pub const ADDRESS: u16 = 5;
    /// Source address alone.
    pub const SOURCE_ADDRESS: u16 = 6;
    /// RTP port in five digits, which differs within this number of consecutive packets.
    pub const RTP: u16 = 7;
    /// Destination address alone.
    pub const DESTINATION_ADDRESS: u16 = 8;
    /// Port of the PBX's stream of the known identity.
    pub const STREAM: u16 = 9;
    /// Flag: of a known identity instead of a new one.
    pub const PICKED: u16 = 1 << 8;
}

/// Edit of one place in a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Offset in the frame.
    pub at: u16,
    /// One of [`edit`].
    pub kind: u16,
}

/// A frame and its edits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Length of the frame.
    pub len: u32,
    /// Sum of the IPv4 header's words, without the checksum and the written address.
    pub sum: u32,
    /// Edits.
    pub edits: [Edit; EDITS],
    /// The frame.
    pub bytes: [u8; FRAME],
}

/// An answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Length of the frame; the part that exceeds the buffer is left out.
    pub len: u32,
    /// The frame.
    pub bytes: [u8; 256],
}

/// Ethernet and IPv4 without options.
pub const UDP: usize = 14 + 20;
/// Offset of the IPv4 header's checksum.
pub const CHECKSUM: usize = 14 + 10;
/// Offset of the source address.
pub const SOURCE: usize = 14 + 12;
/// Offset of the destination address.
pub const DESTINATION: usize = 14 + 16;

/// Returns the identity of a number. Numbers and identities are one to one.
#[inline(always)]
#[must_use]
pub const fn identity(number: u32) -> u32 {
    // The finalizer of MurmurHash3, a bijection.
    let x = number ^ number >> 16;
    let x = x.wrapping_mul(0x85eb_ca6b);
    let x = x ^ x >> 13;
    let x = x.wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

/// Returns the public address of an identity. Each number has three digits, so the text always has the same length.
#[inline(always)]
#[must_use]
pub const fn address(identity: u32) -> [u8; 4] {
    [
        60,
        100 + (identity & 0x7f) as u8,
        100 + (identity >> 7 & 0x7f) as u8,
        100 + (identity >> 14 & 0x7f) as u8,
    ]
}

/// Returns the port of an identity, never that of SIP.
#[inline(always)]
#[must_use]
pub const fn port(identity: u32) -> u16 {
    20_000 + (identity >> 21) as u16
}

/// Streams of a local address, at most.
pub const STREAMS: u32 = 1 << 15;

/// Returns the PBX's port of the stream of the known identity with a number.
#[inline(always)]
#[must_use]
pub const fn stream_port(number: u32) -> u16 {
    20_000 + (number % STREAMS) as u16
}

/// Returns the RTP port of the packet with a number, from 10000 on.
#[inline(always)]
#[must_use]
pub fn rtp_port(number: u32) -> [u8; 5] {
    let port = 10_000 + 2 * (number % 25_000);
    let digit = |unit: u32| b'0' + (port / unit % 10) as u8;
    [digit(10_000), digit(1000), digit(100), digit(10), digit(1)]
}

/// Returns eight hexadecimal digits.
#[inline(always)]
#[must_use]
pub const fn hex(number: u32) -> [u8; 8] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let x = number as u64;
    let x = (x << 16 | x) & 0x0000_ffff_0000_ffff;
    let x = (x << 8 | x) & 0x00ff_00ff_00ff_00ff;
    let x = (x << 4 | x) & LOW;
    // 1 for a digit above nine.
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// Returns a number in three digits.
#[inline(always)]
#[must_use]
pub const fn digits(number: u8) -> [u8; 3] {
    [
        b'0' + number / 100,
        b'0' + number / 10 % 10,
        b'0' + number % 10,
    ]
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), without padding, every bit pattern valid.
    unsafe impl aya::Pod for super::Job {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::Template {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::Sample {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_text() {
        assert_eq!(&hex(0x0123_fedc), b"0123fedc");
        assert_eq!(&hex(0x89ab_4567), b"89ab4567");
        assert_eq!(&digits(207), b"207");
        assert_eq!(&rtp_port(0), b"10000");
        assert_eq!(&rtp_port(24_999), b"59998");
        let ids = (0..1 << 16).map(identity);
        assert!(ids.clone().all(|id| port(id) < 22_048));
        assert!(
            ids.map(address)
                .all(|a| a.iter().skip(1).all(|n| (100..228).contains(n)))
        );
    }
}
