//! Settings of the kernel programs.

/// How many UDP ports one data path serves.
pub const MAX_PORTS: usize = 8;

/// A rate with bursts, as [`crate::tables::buckets`] wants it: both in ticks of a bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next at that rate; 0: there is no limit.
    pub interval: u64,
    /// How far ahead of that rate one may be.
    pub burst: u64,
}

/// What the agent tells the kernel programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The key of every hash, drawn when the maps are made. It never leaves this host.
    pub secret: [u64; 2],
    /// [`ABI`] of whoever made the maps.
    pub abi: u32,
    /// Sets in `INBOUND` and in `OUTBOUND`, less one; a power of two less one.
    pub transaction_mask: u32,
    /// Sets in `PENDING`, less one.
    pub pending_mask: u32,
    /// Sets in `PEERS`, less one.
    pub peer_mask: u32,
    /// Sets in `FRAGMENTS`, less one.
    pub fragment_mask: u32,
    /// Records in `HISTORY`, less one.
    pub history_mask: u32,
    /// Not 0: decide and count, but redirect nothing.
    pub shadow: u32,
    /// Bits of [`stun`].
    pub stun: u32,
    /// The SIP ports, host byte order; unused entries are 0.
    pub ports: [u16; MAX_PORTS],
    /// A port on which STUN is answered beside the SIP ports, host byte order; 0: none.
    pub stun_port: u32,
    /// Lines in `BUCKETS`, less one.
    pub bucket_mask: u32,
    /// Sets in `STUN`, less one.
    pub stun_mask: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// How many STUN requests of one address are answered.
    pub stun_rate: Rate,
}

/// Bits of [`Config::stun`].
pub mod stun {
    /// STUN requests are answered.
    pub const ANSWER: u32 = 1;
    /// Answers say by which software.
    pub const SOFTWARE: u32 = 1 << 1;
}

const _: () = {
    assert!(size_of::<Rate>() == 16);
    assert!(size_of::<Config>() == 96);
};
