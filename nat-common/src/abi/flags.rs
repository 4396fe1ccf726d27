//! Flags of bindings and of the values of tables. A bit has one meaning in all of them.

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
    pub(super) const REMOVE: u16 = 1 << 7;
    pub(super) const BY_PBX: u16 = 1 << 8;
    pub(super) const REDIRECTED: u16 = 1 << 9;
    pub(super) const LEFT_ALONE: u16 = 1 << 10;
    pub(super) const PROVEN: u16 = 1 << 11;
    pub(super) const REPEATED: u16 = 1 << 12;
    pub(super) const KEEPALIVE: u16 = 1 << 13;
    pub(super) const PASSED: u16 = 1 << 14;
}

flags! {
    /// Flags of a [`Binding`](crate::abi::Binding).
    BindingFlags {
        /// No other proxy stands between this host and the terminal: no further Via, no Record-Route.
        DIRECT;
        /// The dialog is early: no 2xx yet (RFC 3261 12.1).
        EARLY;
        /// A BYE has ended the dialog. The dialog end is kept for retransmissions.
        ENDED;
        /// The terminal answers at the original destination. Packets to it are left alone.
        LEFT_ALONE;
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
        /// The request was repeated although responses had been sent.
        REPEATED;
    }

    /// Flags of an [`OutboundTransaction`](crate::abi::OutboundTransaction).
    OutboundFlags {
        /// The request has no Route.
        DIRECT;
        /// The request has a To-tag: its dialog existed before it.
        IN_DIALOG;
        /// The last transmission was redirected; the alternative is its original destination.
        REDIRECTED;
        /// The last transmission went to its original destination; the alternative is the learned address.
        LEFT_ALONE;
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
        /// The terminal answers at the original destination. Packets to it are left alone.
        LEFT_ALONE;
        /// The terminal answers at the learned address.
        PROVEN;
    }

    /// Flags of a [`FragmentedDatagram`](crate::abi::FragmentedDatagram).
    FragmentFlags {
        /// A later fragment was left alone before the first one came.
        PASSED;
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
        /// The message ends the dialog.
        ENDED;
        /// The request was the PBX's; else the terminal's. The two count their CSeqs apart (RFC 3261 12.2.1.1).
        BY_PBX;
        /// The terminal answered at the original destination.
        LEFT_ALONE;
    }
}
