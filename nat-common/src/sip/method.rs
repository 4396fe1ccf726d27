//! Methods of requests.

use num_enum::FromPrimitive;
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Method of a request: those of RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086 and 6665.
///
/// [`Method::Other`] stands for all further methods, which therefore compare equal.
#[repr(u8)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    FromPrimitive,
    FromZeros,
    Immutable,
    KnownLayout,
)]
pub enum Method {
    /// A method that is none of the others. A number in a map that is no method counts as this one.
    #[default]
    Other = 0,
    /// INVITE
    Invite,
    /// ACK
    Ack,
    /// BYE
    Bye,
    /// CANCEL
    Cancel,
    /// REGISTER
    Register,
    /// SUBSCRIBE
    Subscribe,
    /// NOTIFY
    Notify,
    /// REFER
    Refer,
    /// UPDATE
    Update,
    /// INFO
    Info,
    /// PRACK
    Prack,
    /// MESSAGE
    Message,
    /// OPTIONS
    Options,
    /// PUBLISH
    Publish,
}

impl Method {
    /// Returns the name as a request line writes it; `other` for [`Method::Other`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Message => "MESSAGE",
            Self::Options => "OPTIONS",
            Self::Publish => "PUBLISH",
        }
    }

    /// Whether From of a terminal's request is needed before the PBX answers it.
    #[inline(always)]
    #[must_use]
    pub const fn needs_from(self) -> bool {
        self.subscribes() || self.follows_answer() || matches!(self, Self::Register)
    }

    /// Whether the method is one of dialogs that were answered (RFC 3261 12.2): its requests hold the other side's tag.
    #[inline(always)]
    #[must_use]
    pub const fn follows_answer(self) -> bool {
        matches!(
            self,
            Self::Ack | Self::Prack | Self::Bye | Self::Update | Self::Info | Self::Notify
        )
    }

    /// Whether a request of this method may create a dialog (RFC 3261 12.1, 6665 4.4.1, 3515 2).
    #[inline(always)]
    #[must_use]
    pub const fn creates_dialog(self) -> bool {
        matches!(self, Self::Invite) || self.subscribes()
    }

    /// Whether a request of this method, with the other side's tag, belongs to a dialog for certain: the PBX accepts no such
    /// request of a dialog that it does not know (RFC 3261 12.2.2). It accepts OPTIONS and MESSAGE from anybody (11, RFC 3428).
    #[inline(always)]
    #[must_use]
    pub const fn needs_dialog(self) -> bool {
        self.creates_dialog() || self.follows_answer()
    }

    /// Whether a NOTIFY may precede the response to a request of this method (RFC 6665 4.4.1, 3515 2.4.4).
    ///
    /// INVITE is no such method: its response precedes every request within its dialog (RFC 3261 12.1).
    #[inline(always)]
    #[must_use]
    pub const fn subscribes(self) -> bool {
        matches!(self, Self::Subscribe | Self::Refer)
    }
}
