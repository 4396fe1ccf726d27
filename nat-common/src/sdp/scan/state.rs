//! Memory of the scanner between steps.

use core::mem::offset_of;

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::expect::{Body, Expect, Header, Section, Target};
use super::walk::Lines;
use crate::bpf::bounded;
use crate::bytes::{Ipv6, goes_on, words};
use crate::sdp::description::{Description, Kind, MAX_LINES, Transport};
use crate::sdp::none::NoDescription;

/// Number of levels: the session, the lines that are kept, and one for all further lines. A power of two, so that the
/// verifier can bound the index.
const LEVELS: usize = (MAX_LINES + 2).next_power_of_two();

/// State of a scan. It lies in memory between steps.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Scan {
    /// Control characters of the block, a bit for each byte.
    pub(super) controls: u64,
    /// Start of the block in which the end of the line is sought.
    pub(super) block: u32,
    /// Position of the scanner.
    pub(super) at: u32,
    /// End of the bytes to read.
    pub(super) end: u32,
    /// Value of Content-Length.
    pub(super) length: u32,
    /// Index of the level being read.
    pub(super) level: u32,
    /// Element that is expected at `at`.
    pub(super) expect: Expect,
    /// Part of the message at `at`.
    pub(super) section: Section,
    /// Header being read.
    pub(super) header: Header,
    /// Type of the body.
    pub(super) body: Body,
    /// Line whose address is read.
    pub(super) target: Target,
    /// A [`NoDescription`], or 0.
    pub(super) why: u8,
    /// Headers that were read, a bit for each.
    pub(super) seen: u8,
    /// The body is encoded.
    pub(super) encoded: bool,
    /// The text is a whole datagram, and all of it is read.
    pub(super) whole: bool,
    /// The body goes to the end of the text.
    pub(super) last: bool,
    /// The description has ended.
    pub(super) done: bool,
    /// Result of the scan.
    pub description: Description,
    /// What was read of the session, and of each `m=` line that has begun.
    pub(super) levels: [Level; LEVELS],
    /// IPv6 address being read.
    pub(super) address: Ipv6,
    /// Lines that matter, if the walk has found them.
    pub(super) lines: Lines,
}

/// What was read of the session, or of one `m=` line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub(super) struct Level {
    /// Address in `c=`.
    pub(super) addr: [u64; 2],
    /// Address in `a=rtcp`.
    pub(super) rtcp_addr: [u64; 2],
    /// Port of the media.
    pub(super) port: u16,
    /// Port in `a=rtcp`.
    pub(super) rtcp: u16,
    /// Bits of [`LineFlags`](crate::sdp::LineFlags).
    pub(super) flags: u16,
    /// Kind of media.
    pub(super) kind: Kind,
    /// Protocol below the media.
    pub(super) transport: Transport,
    /// There is a `c=` line.
    pub(super) has_address: bool,
    /// There is an `a=rtcp` line.
    pub(super) has_rtcp: bool,
    /// There is a direction.
    pub(super) has_direction: bool,
    pub(super) reserved: [u8; 5],
}

impl Scan {
    /// Returns to the state before the first byte.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        const HEAD: usize = offset_of!(Scan, levels);
        const { assert!(HEAD.is_multiple_of(8)) };
        for word in 0..HEAD / 8 {
            // SAFETY: within the value; zeros are valid there. Volatile, as in `words`.
            unsafe { (&raw mut *self).cast::<u64>().add(word).write_volatile(0) };
        }
        words::clear(&mut self.levels[0]);
        self.lines.forget();
    }

    /// Ends the scan without a description.
    #[inline(always)]
    pub(super) fn refuse(&mut self, why: NoDescription) -> bool {
        self.why = why as u8;
        false
    }

    goes_on!(Expect);

    /// Reads start and control characters of the block from memory, for the same reason.
    #[inline(always)]
    pub(super) fn block(&self) -> (u32, u64) {
        // SAFETY: as above.
        unsafe {
            (
                (&raw const self.block).read_volatile(),
                (&raw const self.controls).read_volatile(),
            )
        }
    }

    /// Returns the level being read.
    #[inline(always)]
    pub(super) fn level(&mut self) -> &mut Level {
        let index = bounded::<LEVELS>(self.level as usize);
        // SAFETY: the index is in bounds.
        unsafe { self.levels.get_unchecked_mut(index) }
    }

    /// Changes the flags of the level being read.
    #[inline(always)]
    pub(super) fn level_flags(&mut self, change: impl Fn(u16) -> u16) {
        let level = self.level();
        level.flags = change(level.flags);
    }

    /// Begins the next `m=` line.
    #[inline(always)]
    pub(super) fn begin_level(&mut self) -> &mut Level {
        let count = self.description.count.saturating_add(1);
        self.description.count = count;
        self.level = u32::from(count).min(MAX_LINES as u32 + 1);
        let level = self.level();
        words::clear(level);
        level
    }
}
