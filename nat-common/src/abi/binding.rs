//! Bindings, and the keys under which they are kept.

use crate::bytes::words::Words;
use crate::endpoint::Endpoint;

/// Names one party of one call: the Call-ID and the terminal's own tag, hashed with the secret.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DialogKey {
    /// Hash of the Call-ID.
    pub call: u64,
    /// Hash of the tag.
    pub tag: u64,
}

/// Names a contact: the URI under which a terminal registered, and for whom.
///
/// Each contact is stored twice: with the address-of-record, and with `aor` 0 for requests whose To
/// names somebody else. `uri` 0 is the mark left by `Contact: *`: the moment before which every
/// contact of that address-of-record is void.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContactKey {
    /// Hash of the Contact URI as the terminal wrote it.
    pub uri: u64,
    /// Hash of the address-of-record (To of the REGISTER) without parameters, or 0.
    pub aor: u64,
}

/// Bits of [`Binding::flags`] and [`Entry::flags`].
pub mod flag {
    /// Nothing stands between this host and the terminal: no other proxy's Via or Record-Route.
    pub const DIRECT: u16 = 1;
    /// Of a pending dialog end: two sources claim it, so it is not used.
    pub const AMBIGUOUS: u16 = 1 << 1;
    /// The transaction belongs to a dialog that existed before it (its request had a To-tag).
    pub const IN_DIALOG: u16 = 1 << 2;
    /// The request was a REGISTER with `Contact: *`.
    pub const REMOVE_ALL: u16 = 1 << 3;
    /// The dialog is early: no 2xx yet.
    pub const EARLY: u16 = 1 << 4;
    /// The dialog has been ended by a BYE; kept for the retransmissions.
    pub const ENDED: u16 = 1 << 5;
    /// The entry's transaction was a REGISTER.
    pub const REGISTER: u16 = 1 << 6;
    /// The REGISTER asked for its contact to be removed (`expires` 0).
    pub const REMOVE: u16 = 1 << 7;
    /// The request was the PBX's; else the terminal's. The two count their CSeqs apart.
    pub const PBX: u16 = 1 << 8;
    /// Of a transaction of the PBX: it was last redirected, and `advertised` is where it was meant to go.
    pub const REDIRECTED: u16 = 1 << 9;
    /// Of a transaction of the PBX: it was last sent where it was meant to go, and `advertised` is the learned
    /// address. Of a peer and a binding: packets for it are left alone, since it answers where the PBX means.
    pub const LEFT_ALONE: u16 = 1 << 10;
    /// Of a peer: it answers at the learned address.
    pub const PROVEN: u16 = 1 << 11;
    /// Of a transaction of a terminal: its request was repeated though responses had been sent.
    pub const REPEATED: u16 = 1 << 12;
    /// Of a source of STUN requests: it sends them to a SIP port, as keepalives (RFC 5626 3.5.2).
    pub const KEEPALIVE: u16 = 1 << 13;
}

/// Longest text kept in a [`Binding`]: the terminal's URI without scheme, cut off beyond this. With more, an element
/// of the map would no more fit into a slab object of 256 bytes.
pub const TEXT_LEN: usize = 48;

/// The record that ties an identity of a terminal to its learned address. Always active: what is
/// pending lives in other tables. Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its own key, as words: the kernel may give the memory of a removed binding to another while it is read.
    pub key: [u64; 2],
    /// When it became active.
    pub created: u64,
    /// When the PBX last accepted a message that confirms it.
    pub seen: u64,
    /// From when on it counts no more.
    pub expires: u64,
    /// Until when another live terminal claims the same contact: till then it is ambiguous.
    pub contested: u64,
    /// Packets that it redirected.
    pub redirected: u64,
    /// Of a contact, the hash of its address-of-record; of a dialog end, 0.
    pub aor: u64,
    /// Of a contact, the hash of the REGISTER's Call-ID. Of a dialog end, that of the branch of the PBX's request
    /// that it began with, or 0.
    pub call: u64,
    /// CSeq of the newest accepted request from this terminal.
    pub cseq: u32,
    /// CSeq of the newest request of the PBX that this terminal answered.
    pub peer_cseq: u32,
    /// Where its packets really come from.
    pub learned: Endpoint,
    /// What its Contact says, where that is a numeric address; else unknown.
    pub advertised: Endpoint,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Bytes used in `text`.
    pub text_len: u8,
    /// Unused, zero.
    pub reserved: [u8; 5],
    /// The terminal as `user@host`, as far as it fits.
    pub text: [u8; TEXT_LEN],
}

impl Binding {
    /// A binding of which nothing is known.
    pub const EMPTY: Self = Self {
        key: [0; 2],
        created: 0,
        seen: 0,
        expires: 0,
        contested: 0,
        redirected: 0,
        aor: 0,
        call: 0,
        cseq: 0,
        peer_cseq: 0,
        learned: Endpoint::UNKNOWN,
        advertised: Endpoint::UNKNOWN,
        flags: 0,
        text_len: 0,
        reserved: [0; 5],
        text: [0; TEXT_LEN],
    };

    /// Whether two live terminals claim it at `now`: it is shown and counted, but not used.
    #[inline(always)]
    #[must_use]
    pub const fn is_ambiguous(&self, now: u64) -> bool {
        self.contested > now
    }

    /// Whether a contact was there before `mark`, which `Contact: *` left, and so is void. Where the clock
    /// cannot tell, the CSeq of the same registration can; else it is void.
    #[inline(always)]
    #[must_use]
    pub const fn is_voided_by(&self, mark: &Self) -> bool {
        let newer = self.call == mark.call && self.cseq > mark.cseq;
        self.seen < mark.created || (self.seen == mark.created && !newer)
    }

    /// Whether every bit of `flag` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }
}

const _: () = {
    assert!(size_of::<DialogKey>() == 16);
    assert!(size_of::<ContactKey>() == 16);
    assert!(size_of::<Binding>() == 184);
};

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Binding {}
