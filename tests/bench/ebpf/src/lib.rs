//! What the kernel programs of the benchmarks and their user space exchange through BPF maps, and the
//! identities that both make from a number.
#![no_std]

/// Room for one frame.
pub const FRAME: usize = 2048;
/// Places of a frame that are written anew for each packet.
pub const EDITS: usize = 10;
/// Frames that are sent in turn, at most.
pub const TEMPLATES: u32 = 1024;

/// How many calls the program `calls` makes.
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
    /// `Array<Sample>`, one entry: an answer, now and then.
    pub const SAMPLE: &str = "SAMPLE";
}

/// By what a packet of the kernel's pktgen is known.
pub mod pktgen {
    /// It goes to this UDP port, unless told otherwise: discard.
    pub const PORT: u16 = 9;
    /// Its payload begins so.
    pub const MAGIC: u32 = 0xbe9b_e955;
}

/// What is counted.
pub mod seen {
    /// By `answers`: what was asked for.
    pub const RIGHT: u32 = 0;
    /// By `answers`: anything else.
    pub const OTHER: u32 = 1;
    /// By `count`: any packet.
    pub const ANY: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// What to write next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The number of the next packet.
    pub next: u64,
    /// `send`: nanoseconds from one packet to the next; 0 is as fast as it goes.
    pub interval: u64,
    /// `send`: when the next is due, nanoseconds of `CLOCK_MONOTONIC`.
    pub due: u64,
    /// Packets are made from so many templates, less one; a power of two less one.
    pub templates: u32,
    /// Packets pick among so many identities, less one; a power of two less one.
    pub picks: u32,
    /// Not 0: templates and picks in random order, else one after the other.
    pub random: u32,
    /// `send`: the interface on which to send.
    pub ifindex: u32,
    /// `feed`: bytes of the packet that was fed last.
    pub last: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// What is written into a frame; [`PICKED`] says from which identity.
pub mod edit {
    /// Nothing.
    pub const NONE: u16 = 0;
    /// The source address and port, at their places in IPv4 and UDP headers.
    pub const SOURCE: u16 = 1;
    /// The destination address.
    pub const DESTINATION: u16 = 2;
    /// The identity in eight hexadecimal digits.
    pub const HEX: u16 = 3;
    /// The identity in four bytes.
    pub const RAW: u16 = 4;
    /// The last three numbers of the identity's address, three digits each: `101.202.103`.
    pub const ADDRESS: u16 = 5;
    /// The source address alone.
    pub const SOURCE_ADDRESS: u16 = 6;
    /// A port of RTP in five digits: another for each of so many packets that follow each other.
    pub const RTP: u16 = 7;
    /// Added: of one of the identities that are picked from, and not of a new one.
    pub const PICKED: u16 = 8;
}

/// One place of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Where in the frame.
    pub at: u16,
    /// One of [`edit`].
    pub kind: u16,
}

/// A frame and what is changed in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Bytes of the frame.
    pub len: u32,
    /// Sum of the IPv4 header's words but for the checksum and the address that is written.
    pub sum: u32,
    /// What is written.
    pub edits: [Edit; EDITS],
    /// The frame.
    pub bytes: [u8; FRAME],
}

/// An answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of the frame; what exceeds the room is left out.
    pub len: u32,
    /// The frame.
    pub bytes: [u8; 256],
}

/// Ethernet and IPv4 without options.
pub const UDP: usize = 14 + 20;
/// Where the IPv4 header's checksum is.
pub const CHECKSUM: usize = 14 + 10;
/// Where the source address is.
pub const SOURCE: usize = 14 + 12;
/// Where the destination address is.
pub const DESTINATION: usize = 14 + 16;

/// The identity of a number: another one for each.
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

/// The public address of an identity: three digits in each number, so that it is always as long as text.
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

/// The port of an identity, never that of SIP.
#[inline(always)]
#[must_use]
pub const fn port(identity: u32) -> u16 {
    20_000 + (identity >> 21) as u16
}

/// The port at which the packet of a number asks for RTP, from 10000 on.
#[inline(always)]
#[must_use]
pub fn rtp_port(number: u32) -> [u8; 5] {
    let port = 10_000 + 2 * (number % 25_000);
    let digit = |unit: u32| b'0' + (port / unit % 10) as u8;
    [digit(10_000), digit(1000), digit(100), digit(10), digit(1)]
}

/// Eight hexadecimal digits.
#[inline(always)]
#[must_use]
pub const fn hex(number: u32) -> [u8; 8] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let x = number as u64;
    let x = (x << 16 | x) & 0x0000_ffff_0000_ffff;
    let x = (x << 8 | x) & 0x00ff_00ff_00ff_00ff;
    let x = (x << 4 | x) & LOW;
    // 1 where a digit is above nine.
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// A number in three digits.
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
