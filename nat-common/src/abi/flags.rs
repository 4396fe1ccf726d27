//! Flags of bindings and of the values of tables. A flag that goes from one kind of value to another has the same bit in
//! both.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Defines a set of flags, 16 bits wide in a map, whose bits are those of [`bit`].
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident { $($(#[$($flag_doc:tt)*])* $flag:ident;)* })*) => {$(
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        pub struct $name(u16);

        bitflags::bitflags! {
            impl $name: u16 {
                $($(#[$($flag_doc)*])* const $flag = bit::$flag;)*
            }
        }
    )*};
}

/// Bits, so that flags of one kind become those of another without a branch.
mod bit {
    pub(super) const DIRECT: u16 = 1;
    pub(super) const AMBIGUOUS: u16 = 1 << 1;
    pub(super) const IN_DIALOG: u16 = 1 << 2;
    pub(super) const REMOVE_ALL: u16 = 1 << 3;
    pub(super) const EARLY: u16 = 1 << 4;
    pub(super) const ENDED: u16 = 1 << 5;
    pub(super) const REGISTER: u16 = 1 << 6;
    pub(super) const ACCEPTED: u16 = 1 << 7;
    pub(super) const BY_PBX: u16 = 1 << 8;
    pub(super) const REDIRECTED: u16 = 1 << 9;
    pub(super) const LEFT_ALONE: u16 = 1 << 10;
    pub(super) const PROVEN: u16 = 1 << 11;
    pub(super) const REPEATED: u16 = 1 << 12;
    pub(super) const KEEPALIVE: u16 = 1 << 13;
    pub(super) const PASSED: u16 = 1 << 14;
    pub(super) const WEAK: u16 = 1 << 15;
    // Flags that stay with one kind of value share bits with those of others.
    pub(super) const TOLD: u16 = REPEATED;
    pub(super) const CREDENTIALS: u16 = REPEATED;
    pub(super) const OWN_USER: u16 = KEEPALIVE;
    pub(super) const SENT_ON: u16 = REDIRECTED;
    pub(super) const CHALLENGED: u16 = PROVEN;
    pub(super) const ANSWERED: u16 = BY_PBX;
    pub(super) const LEARNED: u16 = REGISTER;
    pub(super) const AT_LEARNED: u16 = REGISTER;
    pub(super) const OWN: u16 = ACCEPTED;
    pub(super) const MOVED: u16 = AMBIGUOUS;
    pub(super) const REMOVE: u16 = PASSED;
    pub(super) const REFUSED: u16 = EARLY;
    pub(super) const PROCEEDING: u16 = ENDED;
    pub(super) const PROXY: u16 = PASSED;
    pub(super) const UNACKNOWLEDGED: u16 = REMOVE_ALL;
    pub(super) const OTHER_DOMAIN: u16 = WEAK;
    pub(super) const BESIDE: u16 = LEFT_ALONE;
    pub(super) const BY_ADDRESS: u16 = REDIRECTED;
    pub(super) const LEFT: u16 = MOVED;
    pub(super) const PINGED: u16 = KEEPALIVE;
    pub(super) const SEEMING: u16 = REPEATED;
    pub(super) const HEARS: u16 = REDIRECTED;
    pub(super) const DEAF: u16 = LEFT_ALONE;
    pub(super) const TRIED_LEARNED: u16 = REPEATED;
    pub(super) const SHARED: u16 = WEAK;
}

/// Number of states of a dialog end.
pub const DIALOG_STATES: usize = 4;

impl BindingFlags {
    /// Returns the state of a dialog end: 0 active, 1 early, 2 or 3 ended.
    #[inline(always)]
    #[must_use]
    pub const fn dialog_state(self) -> usize {
        const { assert!(bit::ENDED == bit::EARLY << 1) };
        (self.bits() >> bit::EARLY.trailing_zeros()) as usize % DIALOG_STATES
    }
}

flags! {
    /// Flags of a [`Binding`](crate::abi::Binding).
    BindingFlags {
        /// No other proxy stands between this host and the terminal: no further Via, no Record-Route.
        DIRECT;
        /// The dialog is early: no 2xx yet (RFC 3261 12.1).
        EARLY;
        /// The PBX has accepted the terminal's INVITE, and no ACK has come (RFC 3261 13.3.1.4).
        UNACKNOWLEDGED;
        /// A BYE has ended the dialog. The dialog end is kept for retransmissions.
        ENDED;
        /// The last packet to the terminal was left alone, at its original destination.
        LEFT_ALONE;
        /// Dialog end: the packet with the PBX's tag went to the learned address.
        TOLD;
        /// Dialog end: the terminal has shown that it gets what is sent to its learned address.
        PROVEN;
        /// Contact: the user of its URI is that of its address-of-record.
        OWN_USER;
        /// Contact: a request that only the URI named went unanswered at its original destination, and was answered at
        /// the learned address.
        WEAK;
        /// Contact: its registration at another host still lasts.
        MOVED;
        /// Contact: the PBX that accepted it may be a proxy, which relays answers that others write.
        PROXY;
        /// Contact: its key is the address of its URI, whatever the user.
        BY_ADDRESS;
    }

    /// Flags of an [`InboundTransaction`](crate::abi::InboundTransaction).
    InboundFlags {
        /// The request came without another Via or a Record-Route.
        DIRECT;
        /// The request has a To-tag: its dialog existed before it.
        IN_DIALOG;
        /// The request is a REGISTER.
        REGISTER;
        /// The REGISTER removes its contact (`expires` 0).
        REMOVE;
        /// The REGISTER has `Contact: *`.
        REMOVE_ALL;
        /// A response has been sent since the request last came.
        ANSWERED;
        /// The PBX challenged the REGISTER, and that was redirected; or the REGISTER came with credentials after such a challenge.
        /// In its entry under any branch: the challenge went to its source alone.
        CHALLENGED;
        /// The REGISTER has credentials. In its own entry: and no challenge to it was sent to its source alone.
        CREDENTIALS;
        /// Several sources sent the request, so none is believed.
        AMBIGUOUS;
        /// The entry is not the REGISTER's own, but one beside it: under any branch, or of a further Contact.
        BESIDE;
        /// The PBX sent the REGISTER on to another host.
        SENT_ON;
        /// The user of the Contact URI is that of the address-of-record.
        OWN_USER;
        /// The REGISTER is meant for another domain than that of its address-of-record.
        OTHER_DOMAIN;
        /// The PBX gave a provisional response (RFC 3261 17.2).
        PROCEEDING;
        /// The PBX gave a 2xx.
        ACCEPTED;
        /// The PBX gave another final response.
        REFUSED;
    }

    /// Flags of an [`OutboundTransaction`](crate::abi::OutboundTransaction).
    OutboundFlags {
        /// The request has no Route to another hop.
        DIRECT;
        /// The request has a To-tag: its dialog existed before it.
        IN_DIALOG;
        /// The last transmission was redirected; the alternative is its original destination.
        REDIRECTED;
        /// The last transmission went to its original destination; the alternative is the learned address.
        LEFT_ALONE;
        /// Only the Contact URI names the terminal.
        WEAK;
        /// The original destination is the learned address.
        AT_LEARNED;
        /// The alternative, or the destination, is where the terminal was before it registered from another host.
        MOVED;
        /// The terminal gave a provisional response (RFC 3261 17.1).
        PROCEEDING;
        /// The terminal gave a 2xx.
        ACCEPTED;
        /// The terminal gave another final response.
        REFUSED;
        /// This transmission, or an earlier one, was redirected.
        TRIED_LEARNED;
    }

    /// Flags of a [`PendingDialog`](crate::abi::PendingDialog).
    PendingFlags {
        /// The request came without another Via or a Record-Route.
        DIRECT;
        /// Two sources claim the dialog end, so it is not used.
        AMBIGUOUS;
    }

    /// Flags of a [`Peer`](crate::abi::Peer).
    PeerFlags {
        /// Of a pair: the terminal answers at the learned address.
        PROVEN;
        /// Of a pair: the original destination had been tried before the learned address drew an answer. So the answer may be
        /// one to the earlier transmission.
        SEEMING;
        /// Of a pair: the learned address drew an answer without the original destination.
        HEARS;
        /// Of a pair: the proof only seemed to be one. The terminal does not get what is sent to its learned address.
        DEAF;
        /// Of an address: it answered a request that the PBX sent there, and that sipnat left alone.
        ANSWERED;
        /// Of an address: it is the learned address of a terminal.
        LEARNED;
        /// Of such an address: terminals with several Contact hosts are there at once.
        SHARED;
        /// Of the PBX: it is a proxy. An entry without the flag says that it is none.
        PROXY;
        /// Of an address and an owner: a contact of the owner was registered there, and its registration goes on elsewhere.
        LEFT;
        /// Of an address and a Contact URI: the PBX sent an OPTIONS that only the URI names.
        PINGED;
    }

    /// Flags of a [`FragmentedDatagram`](crate::abi::FragmentedDatagram).
    FragmentFlags {
        /// A later fragment was left alone before the first one came.
        PASSED;
    }

    /// Flags of an [`Offer`](crate::abi::Offer).
    OfferFlags {
        /// Two descriptions of one transaction differ.
        AMBIGUOUS;
    }

    /// Flags of a [`StunSource`](crate::abi::StunSource).
    StunFlags {
        /// Requests go to a SIP port, as keepalives do (RFC 5626 3.5.2).
        KEEPALIVE;
    }

    /// Flags of the evidence on which a dialog end is activated, moved or confirmed. Not kept in a map.
    EvidenceFlags {
        /// No other proxy stands between this host and the terminal.
        DIRECT;
        /// The message belongs to a dialog that existed before it.
        IN_DIALOG;
        /// The dialog is early.
        EARLY;
        /// The message accepts an INVITE.
        UNACKNOWLEDGED;
        /// The message ends the dialog.
        ENDED;
        /// The request was the PBX's; else the terminal's.
        BY_PBX;
        /// The terminal answered at the original destination.
        LEFT_ALONE;
        /// The PBX's answer went to the learned address.
        TOLD;
        /// The terminal answered at the learned address.
        PROVEN;
        /// The PBX gave the 2xx to a REGISTER itself.
        OWN;
        /// The REGISTER is meant for another domain than that of its address-of-record: a proxy relays it.
        OTHER_DOMAIN;
    }
}
