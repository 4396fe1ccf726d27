//! States of the scanner.

use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Element that the scanner expects at its position.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Expect {
    /// The start of the message.
    #[default]
    StartLine = 0,
    /// The Request-URI, after its scheme.
    RequestUri,
    /// The start of a header line, or of the empty line.
    Line,
    /// The rest of a line that does not matter.
    Skip,
    /// White space or the colon after a header name.
    Colon,
    /// White space before a value.
    Value,
    /// The start of Via's value.
    Via,
    /// A Via before its sent-by: `count` tokens and slashes have been read.
    Protocol,
    /// The start of an address: of From's, To's, Contact's or Record-Route's value.
    Address,
    /// A display name, or an address without angle brackets.
    Name,
    /// The rest of a quoted string. `resume` follows it.
    Quoted,
    /// White space after a token of a display name, or after an address without brackets.
    AfterName,
    /// A URI in angle brackets, after its scheme.
    Uri,
    /// The host of a Contact if it is a dotted quad, or the dotted quad that ends an IPv6 address.
    Host,
    /// A group of a Contact's IPv6 address, a leading `::`, or the rest after `::`.
    Ipv6,
    /// The rest of a Contact after its IPv6 address.
    HostEnd,
    /// A semicolon, comma, white space or line end between parameters, or the rest of a skipped parameter.
    Params,
    /// White space before the name of a parameter, or the name.
    Param,
    /// White space or `=` after a parameter's name.
    Equals,
    /// White space before a parameter's value, or its start.
    ParamValue,
    /// The rest of a tag or branch.
    ParamToken,
    /// White space after a tag, a branch or `expires`.
    ParamEnd,
    /// The rest of Call-ID's value.
    CallId,
    /// Digits of CSeq, Expires or `expires=`.
    Number,
    /// White space before CSeq's method, or the method.
    CseqMethod,
    /// White space and the line end.
    Tail,
}
