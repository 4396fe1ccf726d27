//! Memory of the machine between steps.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::expect::Expect;
use crate::bpf::bounded;
use crate::bytes::{Ipv6, Span, goes_on};
use crate::endpoint::Endpoint;
use crate::sip::Message;
use crate::sip::doubt::Doubt;
use crate::sip::field::{READ_CONTACTS, SPANS};
use crate::sip::scan::table::{Header, Needed};

/// State of the machine. It lies in memory between steps.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Machine {
    /// Position of the machine.
    pub(super) at: u32,
    /// End of the bytes to read.
    pub(super) end: u32,
    /// Start of the token or URI being read.
    pub(super) token_start: u32,
    /// Start of the host in the URI being read; 0: no `@` was seen.
    pub(super) host_start: u32,
    /// End of the address in the URI being read: its parameters begin there, or an address without brackets ended
    /// there. 0: not seen.
    pub(super) address_end: u32,
    /// Value of the digits read.
    pub(super) number: u32,
    /// Position to continue at after the host.
    pub(super) after_host: u32,
    /// Element that is expected at `at`.
    pub(super) expect: Expect,
    /// Element that is expected after a quoted string or a folded line end.
    pub(super) resume: Expect,
    /// Header being read.
    pub(super) header: Header,
    /// First element of this header's value.
    pub(super) value_start: Expect,
    /// 1 after the first digit of `number`; number of parts of a sent-protocol.
    pub(super) count: u8,
    /// A [`Doubt`], or 0.
    pub(super) doubt: u8,
    /// The headers have ended.
    pub(super) done: bool,
    /// Headers that are needed.
    pub(super) needed: Needed,
    /// Headers that are not needed in this direction, a bit for each (see [`Header::bit`]).
    pub(super) ignored: u16,
    /// The end of the text ends the headers if no empty line did: it is that of a datagram, and all of it is read.
    pub(super) whole: bool,
    /// Form of the address being read.
    pub(super) form: Form,
    /// The Contact being read is kept; or the Via being read has an empty branch.
    pub(super) kept: bool,
    /// Ones if the parameters of the value being read matter, otherwise 0: those of a Record-Route, and of all but the topmost
    /// Via, are passed over.
    pub(super) semicolons: u64,
    /// Host of the Contact being read, in network byte order.
    pub(super) host_address: [u64; 2],
    /// IPv6 address of a host being read.
    pub(super) host_groups: Ipv6,
    /// Addresses of the first Contacts, where numeric.
    pub(in crate::sip::scan) addresses: [Endpoint; READ_CONTACTS],
    /// Result of the scan.
    pub(in crate::sip::scan) message: Message,
}

/// Form of an address. It says what an angle bracket means that follows parameters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Form {
    /// A URI in brackets.
    #[default]
    Bracketed = 0,
    /// A URI without brackets. A bracket after it leaves open which of the two is the address.
    Bare,
    /// Neither scheme nor `@`. A bracket after it makes a display name of it.
    Name,
}

impl Machine {
    /// Ends the scan with a doubt.
    #[inline(always)]
    pub(super) fn give_up(&mut self, why: Doubt) -> bool {
        self.doubt = why as u8;
        false
    }

    /// Ends the scan at a byte that must not be at `at`. An earlier part of the step may have moved `at` past the end:
    /// then the message is truncated.
    #[inline(always)]
    pub(super) fn give_up_at(&mut self, at: u32) -> bool {
        self.give_up(if at < self.end {
            Doubt::Syntax
        } else {
            Doubt::Truncated
        })
    }

    /// Leaves a value that breaks the grammar at `at`. A Contact spoils the rest of its line; any other header the message.
    #[inline(always)]
    pub(super) fn spoil(&mut self, at: u32) -> bool {
        if self.header == Header::Contact {
            return self.go(at, Expect::Skip);
        }
        self.give_up_at(at)
    }

    goes_on!(Expect);

    /// Notes the position of a part.
    #[inline(always)]
    pub(super) fn set_span(&mut self, index: usize, span: Span) {
        let index = bounded::<SPANS>(index);
        // SAFETY: the index is in bounds.
        unsafe { *self.message.spans.get_unchecked_mut(index) = span };
    }
}
