//! Verdicts. Each packet gets exactly one in its direction, and its counter follows from it here.
//!
//! The kernel programs act on these types. A counter is only counted, never asked.
//!
//! ```
//! use nat_common::abi::Counter;
//! use nat_common::engine::verdict::{Decision, Received, Sent, Skip};
//!
//! assert_eq!(Received::Skipped(Skip::NotUdp).counter(), Counter::InNotUdp);
//! assert_eq!(Sent::Skipped(Skip::NotUdp).counter(), Counter::OutNotUdp);
//! assert_eq!(Sent::Decided(Decision::PolicyOff).counter(), Counter::OutPolicyOff);
//! ```

use core::mem;

use num_enum::FromPrimitive;

use crate::abi::Counter;
use crate::sip::Doubt;

/// Reason to pass a packet before any decision: it is not SIP for or from the PBX, or cannot be read.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// IP, but not UDP.
    NotUdp,
    /// UDP of a port that is not SIP.
    OtherPort,
    /// Lengths in the headers contradict the packet.
    Malformed,
    /// The source is no unicast address, or IPv4-mapped (RFC 4942 2.2).
    BadSource,
    /// SIP of another host than the PBX.
    OtherHost,
    /// Keeps a NAT mapping open and says nothing.
    Keepalive,
    /// On a SIP port, but not SIP.
    NotSip,
    /// SIP: the headers end with the packet.
    Truncated,
    /// SIP: a header that matters breaks the grammar.
    Syntax,
    /// SIP: a mandatory header is missing.
    Missing,
    /// SIP: a header that must be unique occurs twice.
    Duplicate,
    /// SIP: the headers take too many steps to read.
    Costly,
    /// A map entry of sipnat's own is missing.
    NoTables,
}

impl From<Doubt> for Skip {
    #[inline(always)]
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Truncated => Self::Truncated,
            Doubt::Syntax => Self::Syntax,
            Doubt::Missing => Self::Missing,
            Doubt::Duplicate => Self::Duplicate,
            Doubt::Costly => Self::Costly,
        }
    }
}

/// Verdicts whose discriminants are those of their counters: a verdict becomes its counter without a branch. BPF has no jump
/// tables, and the verifier would follow each branch of a comparison tree.
macro_rules! counted {
    ($($verdict:ident),*) => {
        $(impl $verdict {
            /// Counter of this verdict.
            #[inline(always)]
            #[must_use]
            pub const fn counter(self) -> Counter {
                // SAFETY: each discriminant is that of a counter.
                unsafe { mem::transmute::<u32, Counter>(self as u32) }
            }
        })*
    };
}

counted!(Heard, Answer, Stun, Decision);

/// Use that was made of a SIP message that arrived.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Request: its source is stored with its transaction.
    Request = Counter::InRequest as u8,
    /// Request again, from the source that is stored.
    Repeat = Counter::InRepeat as u8,
    /// Request again, from another source: neither is believed.
    OtherSource = Counter::InOtherSource as u8,
    /// ACK: opens no transaction.
    Ack = Counter::InAck as u8,
    /// Another CPU was writing to the same slot.
    Busy = Counter::InBusy as u8,
    /// Response to a request of the PBX.
    Response = Counter::InResponse as u8,
    /// Response to nothing that the PBX sent.
    Unasked = Counter::InResponseUnasked as u8,
    /// Response from another host than the request was sent to.
    Elsewhere = Counter::InResponseElsewhere as u8,
    /// Response or REGISTER that the kernel will drop.
    BadChecksum = Counter::InChecksum as u8,
    /// A map entry of sipnat's own is missing.
    NoTables = Counter::InNoTables as u8,
}

/// Verdict on an answer to an OPTIONS of the agent. It is dropped: the PBX has sent no such request.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It counts.
    Answered = Counter::KeepaliveAnswered as u8,
    /// It is late, repeated, or from another host.
    Stray = Counter::KeepaliveStray as u8,
}

/// Verdict on STUN that arrived.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stun {
    /// STUN is not answered here: passed to the PBX.
    Disabled = Counter::InStun as u8,
    /// Binding request: answered with its source.
    Answered = Counter::StunAnswered as u8,
    /// Binding request with an unknown attribute that matters: answered with 420.
    Refused = Counter::StunRefused as u8,
    /// Binding request above the rate limit of its source: dropped.
    Limited = Counter::StunLimited as u8,
    /// Binding request above the rate limit of all sources together: dropped.
    TotalLimited = Counter::StunTotalLimited as u8,
    /// Not a Binding request.
    NotRequest = Counter::StunNotRequest as u8,
    /// Binding request with credentials: for the PBX to judge.
    Credentials = Counter::StunCredentials as u8,
    /// The attributes contradict the message.
    Malformed = Counter::StunMalformed as u8,
    /// FINGERPRINT does not match the message.
    BadFingerprint = Counter::StunBadFingerprint as u8,
    /// The source must not be answered.
    BadSource = Counter::StunBadSource as u8,
    /// The destination is not this host.
    NotHere = Counter::StunNotHere as u8,
    /// The packet has a form in which no client asks.
    Unusual = Counter::StunUnusual as u8,
    /// The packet cannot take the answer.
    NotWritten = Counter::StunNotWritten as u8,
    /// The kernel refused to let the answer be finished: dropped.
    Failed = Counter::StunFailed as u8,
}

/// Verdict on a packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Passed before any decision.
    Skipped(Skip),
    /// A fragment after the first: it has no SIP headers.
    Fragment,
    /// A SIP message.
    Heard(Heard),
    /// An answer to an OPTIONS of the agent.
    Answer(Answer),
    /// STUN.
    Stun(Stun),
}

impl Received {
    /// Counter of this verdict.
    #[inline(always)]
    #[must_use]
    pub const fn counter(self) -> Counter {
        match self {
            Self::Skipped(skip) => match skip {
                Skip::NotIp => Counter::InNotIp,
                Skip::NotUdp => Counter::InNotUdp,
                Skip::OtherPort => Counter::InOtherPort,
                Skip::Malformed => Counter::InMalformed,
                Skip::BadSource => Counter::InBadSource,
                Skip::OtherHost => Counter::InOtherHost,
                Skip::Keepalive => Counter::InKeepalive,
                Skip::NotSip => Counter::InNotSip,
                Skip::Truncated => Counter::InDoubtTruncated,
                Skip::Syntax => Counter::InDoubtSyntax,
                Skip::Missing => Counter::InDoubtMissing,
                Skip::Duplicate => Counter::InDoubtDuplicate,
                Skip::Costly => Counter::InDoubtCostly,
                Skip::NoTables => Counter::InNoTables,
            },
            Self::Fragment => Counter::InFragment,
            Self::Heard(heard) => heard.counter(),
            Self::Answer(answer) => answer.counter(),
            Self::Stun(stun) => stun.counter(),
        }
    }
}

/// Choice between a learned address and an original destination.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromPrimitive)]
pub enum Choice {
    /// The original destination, because it comes first.
    #[num_enum(default)]
    Original = 0,
    /// The original destination, because the terminal answers there.
    LeftAlone,
    /// The original destination, because the learned address drew no answer.
    Unanswered,
    /// The learned address.
    Learned,
    /// The original destination, because another terminal is at the learned address.
    Taken,
}

/// Decision on a message that the PBX sends.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A fragment after the first, left alone as the first was.
    Fragment = Counter::OutFragment as u8,
    /// A fragment after its redirected first: redirected.
    FragmentRedirected = Counter::OutFragmentRedirected as u8,
    /// A first fragment whose followers could not follow a redirect: left alone.
    FragmentRefused = Counter::OutFragmentRefused as u8,
    /// Request to a terminal of which nothing is known.
    UnknownRequest = Counter::OutUnknownRequest as u8,
    /// Response to a request of which nothing is known.
    UnknownResponse = Counter::OutUnknownResponse as u8,
    /// Request with a Route: meant for another hop.
    Route = Counter::OutRoute as u8,
    /// Two live terminals claim the contact.
    Ambiguous = Counter::OutAmbiguous as u8,
    /// Only the Contact URI names the terminal, and other evidence speaks against it.
    ForeignContact = Counter::OutForeignContact as u8,
    /// Original destination and learned address differ in IP version.
    OtherFamily = Counter::OutOtherFamily as u8,
    /// The terminal answers at the original destination.
    LeftAlone = Counter::OutLeftAlone as u8,
    /// Nothing is proven of the two addresses: the original destination comes first.
    OriginalFirst = Counter::OutOriginalFirst as u8,
    /// Several sources sent the request that is answered.
    Disputed = Counter::OutDisputed as u8,
    /// Transmissions to the learned address drew no answer: this one goes to the original destination.
    Unanswered = Counter::OutUnanswered as u8,
    /// Another terminal has registered from the learned address of the contact since.
    Taken = Counter::OutTaken as u8,
    /// The policy for the learned address is off.
    PolicyOff = Counter::OutPolicyOff as u8,
    /// The policy is auto, and the terminal came through another proxy.
    NotDirect = Counter::OutNotDirect as u8,
    /// The original destination is the learned address.
    AlreadyThere = Counter::OutAlreadyThere as u8,
    /// Response, redirected to the source of its request.
    RedirectedResponse = Counter::OutRedirectedResponse as u8,
    /// In-dialog request, redirected by dialog end.
    RedirectedDialog = Counter::OutRedirectedDialog as u8,
    /// Request, redirected by contact.
    RedirectedContact = Counter::OutRedirectedContact as u8,
    /// CANCEL or ACK, redirected to where its INVITE went.
    RedirectedInvite = Counter::OutRedirectedInvite as u8,
}

impl Decision {
    /// Whether no terminal was found, or it is in doubt which one is meant.
    #[inline(always)]
    #[must_use]
    pub const fn lacks_terminal(self) -> bool {
        matches!(
            self,
            Self::UnknownRequest | Self::Ambiguous | Self::ForeignContact
        )
    }

    /// Whether learned address and original destination differ, and one of them was chosen.
    #[inline(always)]
    #[must_use]
    pub const fn is_choice(self) -> bool {
        matches!(
            self,
            Self::RedirectedResponse
                | Self::RedirectedDialog
                | Self::RedirectedContact
                | Self::LeftAlone
                | Self::OriginalFirst
                | Self::Unanswered
                | Self::Taken
        )
    }
}

/// Verdict on a packet that the PBX sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Left alone before any decision.
    Skipped(Skip),
    /// A GSO super-packet of a SIP port: left alone.
    Segmented,
    /// Keepalive or STUN of the PBX.
    Stun,
    /// OPTIONS of the agent.
    Ping,
    /// The decision, carried out.
    Decided(Decision),
    /// To be redirected, but the packet cannot be written: left alone.
    Refused,
    /// To be redirected, but the kernel refused to finish the change: dropped.
    Failed,
}

impl Sent {
    /// Counter of this verdict.
    #[inline(always)]
    #[must_use]
    pub const fn counter(self) -> Counter {
        match self {
            Self::Skipped(skip) => match skip {
                Skip::NotIp => Counter::OutNotIp,
                Skip::NotUdp => Counter::OutNotUdp,
                Skip::OtherPort => Counter::OutOtherPort,
                Skip::Malformed => Counter::OutMalformed,
                Skip::BadSource | Skip::NotSip => Counter::OutNotSip,
                Skip::OtherHost => Counter::OutOtherHost,
                Skip::Keepalive => Counter::OutKeepalive,
                Skip::Truncated => Counter::OutDoubtTruncated,
                Skip::Syntax => Counter::OutDoubtSyntax,
                Skip::Missing => Counter::OutDoubtMissing,
                Skip::Duplicate => Counter::OutDoubtDuplicate,
                Skip::Costly => Counter::OutDoubtCostly,
                Skip::NoTables => Counter::OutNoTables,
            },
            Self::Segmented => Counter::OutSegmented,
            Self::Stun => Counter::OutKeepalive,
            Self::Ping => Counter::KeepaliveSent,
            Self::Decided(decision) => decision.counter(),
            Self::Refused => Counter::OutRewriteRefused,
            Self::Failed => Counter::OutRewriteFailed,
        }
    }
}

/// Outcome of a try to place a dialog end or a contact.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromPrimitive)]
pub enum Placed {
    /// Another CPU changed it at the same time.
    #[num_enum(default)]
    Busy,
    /// A dialog end that is new: it lies in the draft, without a name.
    New,
    /// The binding is placed, or stays as it is.
    Done,
    /// The contact's REGISTER is older than what is known, or there is no room for it.
    Refused,
}
