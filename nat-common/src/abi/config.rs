//! Settings that the agent writes for the kernel programs.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::flags::DIALOG_STATES;
use crate::abi::layout::described;
use crate::abi::tables::Table;
use crate::endpoint::Endpoint;

/// Number of masks: one for each table, and one more if that is odd, so that [`Config`] has no padding.
const MASKS: usize = Table::COUNT.next_multiple_of(2);

/// Number of UDP ports that one data path serves.
pub const MAX_PORTS: usize = 8;

/// Number of addresses of PBXs that one data path can be told.
pub const MAX_PBXS: usize = 8;

/// Address that no packet of a PBX has.
pub const NO_PBX: [u64; 2] = [u64::MAX; 2];

/// Number of interfaces whose own frames the programs can tell.
pub const MAX_INTERFACES: usize = 8;

/// Interface with the programs.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface {
    /// Its index; 0: an unused entry.
    pub index: u32,
    /// Not 0: it is a port of a bridge or a bond, on which the kernel finds no neighbour.
    pub port: u32,
    /// Its MAC address, as eight bytes of a frame have it in memory; 0: it has none.
    pub mac: u64,
}

/// Rate limit with bursts. Both fields are in ticks for one source, and in nanoseconds for all of them: see
/// [`buckets`](crate::tables::buckets).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Rate {
    /// Time from one request to the next at that rate; 0: no limit.
    pub interval: u64,
    /// Time by which requests may be ahead of that rate.
    pub burst: u64,
}

/// Settings of the kernel programs: the value of `CONFIG`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Config {
    /// Key of every hash, drawn when the maps are made. It never leaves this host.
    pub secret: [u64; 2],
    /// Number of the layout ([`ABI`](crate::abi::ABI)) of the maps. Every version has it at [`Self::ABI_OFFSET`].
    pub abi: u32,
    /// Records in `HISTORY`, less one; a power of two less one.
    pub history_mask: u32,
    /// Not 0: decide and count, but redirect nothing.
    pub shadow: u32,
    /// Bits of [`stun`].
    pub stun: u32,
    /// Sets of each [`Table`], less one; powers of two less one.
    pub masks: [u32; MASKS],
    /// Lines in `BUCKETS`, less one; a power of two less one.
    pub bucket_mask: u32,
    /// Port on which STUN is answered beside the SIP ports, host byte order; 0: none.
    pub stun_port: u32,
    /// SIP ports, host byte order; unused entries are 0.
    pub ports: [u16; MAX_PORTS],
    /// Rate limit of STUN requests of one address.
    pub stun_rate: Rate,
    /// Rate limit of STUN requests of all addresses together.
    pub stun_total: Rate,
    /// Time from which a request that only a Contact URI names may be redirected to a contact whose user is not its owner's;
    /// nanoseconds of `CLOCK_MONOTONIC`.
    pub settled: u64,
    /// SIP ports whose socket is bound to no address: a [`Self::wildcard`] bit for each. The PBX may then answer from another
    /// address than the one to which the request came.
    pub wildcards: u32,
    /// Not 0: an interface is virtual, and may receive packets whose UDP checksum is partial.
    pub partial_checksums: u32,
    /// Sets in `DIALOGS` and in `CONTACTS`, less one; a power of two less one.
    pub binding_mask: u32,
    /// Not 0: only packets to and from [`Self::pbxs`] are read.
    pub only_pbxs: u32,
    /// Addresses of PBXs, as those of an [`Endpoint`]; unused entries are [`NO_PBX`].
    pub pbxs: [[u64; 2]; MAX_PBXS],
    /// Cookie in the branches of the agent's OPTIONS, as 16 hexadecimal digits; 0: it sends none.
    pub keepalive: [u64; 2],
    /// Interfaces with the programs, as far as there are entries.
    pub interfaces: [Interface; MAX_INTERFACES],
    /// Nanoseconds that a dialog end lasts without another message, by its state ([`BindingFlags::dialog_state`](crate::abi::BindingFlags::dialog_state)).
    pub dialog_lives: [u64; DIALOG_STATES],
}

described!(Config {
    secret,
    abi,
    history_mask,
    shadow,
    stun,
    masks,
    bucket_mask,
    stun_port,
    ports,
    stun_rate,
    stun_total,
    settled,
    wildcards,
    partial_checksums,
    binding_mask,
    only_pbxs,
    pbxs,
    keepalive,
    interfaces,
    dialog_lives,
});

const _: () = assert!(offset_of!(Config, abi) == Config::ABI_OFFSET);

impl Config {
    /// Offset of [`Self::abi`], which never changes.
    pub const ABI_OFFSET: usize = 16;

    /// Whether an address is one of the PBX. Without [`Self::only_pbxs`], any is.
    #[inline(always)]
    #[must_use]
    pub fn is_pbx(&self, ours: &Endpoint) -> bool {
        if self.only_pbxs == 0 {
            return true;
        }
        for addr in &self.pbxs {
            if (addr[0] ^ ours.addr[0]) | (addr[1] ^ ours.addr[1]) == 0 {
                return true;
            }
        }
        false
    }

    /// Whether a redirected frame keeps its next hop: the interface is a port, or the frame comes from another MAC address, such
    /// as that of a macvlan on it. This host has not routed such a frame, so its routes say nothing of it, and it has no
    /// neighbours there. `source` holds the source of the frame in its lower six bytes.
    #[inline(always)]
    #[must_use]
    pub fn keeps_next_hop(&self, index: u32, source: u64) -> bool {
        for interface in &self.interfaces {
            if interface.index == index {
                let other = interface.mac != 0 && (interface.mac ^ source) << 16 != 0;
                return interface.port != 0 || other;
            }
        }
        false
    }

    /// Returns the bit of [`Self::wildcards`] for one of `ports` and a version of IP.
    #[inline(always)]
    #[must_use]
    pub const fn wildcard(index: usize, v4: bool) -> u32 {
        let bit = 1 << index;
        if v4 { bit } else { bit << MAX_PORTS }
    }

    /// Whether a port is a SIP port.
    ///
    /// All are compared at once: the verifier would follow each of eight branches.
    #[inline(always)]
    #[must_use]
    pub const fn has_port(&self, port: u32) -> bool {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const TOPS: u64 = 0x8000_8000_8000_8000;
        const { assert!(offset_of!(Self, ports).is_multiple_of(8) && MAX_PORTS == 8) };
        let ports = (&raw const self.ports).cast::<u64>();
        // SAFETY: two words, aligned, by the assertion.
        let words = unsafe { [*ports, *ports.add(1)] };
        let wanted = port as u16 as u64 * ONES;
        let [first, second] = [words[0] ^ wanted, words[1] ^ wanted];
        let same = (first.wrapping_sub(ONES) & !first) | (second.wrapping_sub(ONES) & !second);
        // An unused entry is 0, which is no port.
        port != 0 && same & TOPS != 0
    }

    /// Whether the PBX's socket that has the port of `ours` is bound to no address of that version of IP.
    #[inline(always)]
    #[must_use]
    pub fn is_wildcard(&self, ours: &Endpoint) -> bool {
        if self.wildcards == 0 {
            return false;
        }
        let mut index = 0;
        while index < MAX_PORTS {
            if u32::from(self.ports[index]) == ours.port {
                return self.wildcards & Self::wildcard(index, ours.is_v4()) != 0;
            }
            index += 1;
        }
        false
    }
}

/// Bits of [`Config::stun`].
pub mod stun {
    /// Answer STUN requests.
    pub const ANSWER: u32 = 1;
    /// Name the software in answers.
    pub const SOFTWARE: u32 = 1 << 1;
}
