//! An IPv6 address in text, read group by group (RFC 4291 2.2).
//!
//! ```
//! use nat_common::bytes::Ipv6;
//!
//! // 2001:db8::1
//! let mut address = Ipv6::default();
//! address.add(0x2001);
//! address.add(0xdb8);
//! assert!(!address.is_whole());
//! address.begin_gap();
//! address.add(1);
//! assert!(address.is_whole());
//! assert_eq!(address.words(), [0x2001_0db8_0000_0000_u64.to_be(), 1_u64.to_be()]);
//! ```

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bytes::words;

/// Groups of an address that is being read. All zeros: none was read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Ipv6 {
    /// Groups before `::`, in network byte order.
    before: [u64; 2],
    /// Groups after `::`, the last in the lowest bits.
    after: [u64; 2],
    /// Number of groups that were read.
    pub(crate) groups: u8,
    /// One more than the number of groups before `::`; 0: not seen.
    pub(crate) gap: u8,
}

impl Ipv6 {
    /// Forgets all groups.
    #[inline(always)]
    pub fn clear(&mut self) {
        words::clear(&mut self.before);
        words::clear(&mut self.after);
        self.groups = 0;
        self.gap = 0;
    }

    /// Marks the address as empty without clearing its groups, before an IPv4 address is read. [`Self::add`] must not follow.
    #[inline(always)]
    pub(crate) const fn set_empty(&mut self) {
        self.groups = 0;
        self.gap = 0;
    }

    /// Whether neither a group nor `::` was read.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.groups == 0 && self.gap == 0
    }

    /// Adds a group: before `::` by its number, after `::` at the end.
    #[inline(always)]
    pub fn add(&mut self, group: u32) {
        if self.gap == 0 {
            let group = u64::from(group) << (48 - 16 * u32::from(self.groups & 3));
            if self.groups < 4 {
                self.before[0] |= group.to_be();
            } else {
                self.before[1] |= group.to_be();
            }
        } else {
            self.after[0] = self.after[0] << 16 | self.after[1] >> 48;
            self.after[1] = self.after[1] << 16 | u64::from(group);
        }
        self.groups = self.groups.wrapping_add(1);
    }

    /// Notes the `::`.
    #[inline(always)]
    pub fn begin_gap(&mut self) {
        self.gap = self.groups.wrapping_add(1);
    }

    /// Whether a colon or the end must not come here: a group must follow a single colon.
    #[inline(always)]
    #[must_use]
    pub const fn lacks_group(&self) -> bool {
        self.gap == 0 && self.groups > 0 || self.gap > 0 && self.gap <= self.groups
    }

    /// Whether these are all groups of an address; `::` stands for at least one.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        if self.gap == 0 {
            self.groups == 8
        } else {
            self.groups < 8
        }
    }

    /// Returns the address, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        [
            self.before[0] | self.after[0].to_be(),
            self.before[1] | self.after[1].to_be(),
        ]
    }
}
