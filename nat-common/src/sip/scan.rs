//! The SIP scanner: one pass over the headers, eight bytes at a time or more.
//!
//! It is a state machine whose every step is straight-line code and whose state lies in memory: the
//! kernel's verifier then looks at one step, whatever loop repeats it (see [`Repeat`]). It finds
//! what makes up keys and decisions (see [`Message`]) and nothing else; where a header that matters
//! is not as RFC 3261 25.1 wants it, it says [`Doubt`] rather than guess.

use crate::bpf::bounded;
use crate::bpf::{Repeat, Step};
use crate::bytes::swar::{
    below, byte, digits, equal, first, first_of_four, head, hex_digits, starts, text, token_end,
};
use crate::bytes::words::{self, Words};
use crate::bytes::{Source, Span, WIDE};
use crate::endpoint::Endpoint;
use crate::sip::message::{Direction, Doubt, Field, MAX_CONTACTS, Message, Method, SPANS, header};

/// Bytes that are looked at. A header section that goes on beyond is in doubt.
pub const MAX_SCAN: u32 = 0x3fbf;

/// More steps than a message of [`MAX_SCAN`] bytes can take.
const MAX_STEPS: u32 = 4 * MAX_SCAN;

/// What comes next. The comment says what lies at `at`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first byte of the message.
    #[default]
    Start = 0,
    /// The Request-URI, after its scheme.
    RequestUri,
    /// The start of a header line, or of the empty line.
    Line,
    /// Somewhere in a line that does not matter.
    Skip,
    /// White space or the colon after a header name.
    Colon,
    /// White space before a value.
    Value,
    /// The beginning of Via's value.
    Via,
    /// A Via before its sent-by: `count` tokens and slashes have been read.
    Protocol,
    /// The beginning of an address: of From's, To's, Contact's or Record-Route's value.
    Address,
    /// A display name, or an address without angle brackets.
    Name,
    /// Inside a quoted string, after which `back` reads on.
    Quoted,
    /// White space after a token of a display name, or after an address without brackets.
    AfterName,
    /// A URI in angle brackets, after its scheme.
    Uri,
    /// The host of the first Contact, where it is a dotted quad, or the dotted quad that ends an IPv6 address.
    Host,
    /// A group of the first Contact's IPv6 address, `::` before the first, or what follows `::`.
    Ipv6,
    /// After the IPv6 address of the first Contact.
    HostEnd,
    /// Parameters: at a semicolon, comma, white space or line end, or inside one that is skipped.
    Params,
    /// The name of a parameter, or white space before it.
    Param,
    /// White space or `=` after a parameter's name.
    Equals,
    /// White space before, or the start of, a parameter's value.
    ParamValue,
    /// Inside a tag or branch.
    ParamToken,
    /// White space after a tag, a branch or `expires`.
    ParamEnd,
    /// Call-ID's value.
    CallId,
    /// CSeq's number, Expires or `expires=`.
    Number,
    /// White space before CSeq's method, or the method.
    CseqMethod,
    /// White space up to the line end, and nothing else.
    Tail,
}

/// The header being read.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Header {
    #[default]
    Via = 0,
    From,
    To,
    CallId,
    Cseq,
    Contact,
    Expires,
    RecordRoute,
    Route,
}

impl Header {
    /// Its bit in a set of headers.
    #[inline(always)]
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Headers of which nothing is wanted in a request, or with `None` in a response. Who sends a request is in From (RFC 3261
/// 8.1.1.3): of From and To, the terminal's counts, and of Contacts the terminal's; in responses to a REGISTER the PBX writes
/// them, too.
#[inline(always)]
const fn unwanted(direction: Option<Direction>, method: Option<Method>) -> u16 {
    match (direction, method) {
        (Some(Direction::In), Some(method)) if method.subscribes() => 0,
        (Some(Direction::In), _) => Header::From.bit(),
        (Some(Direction::Out), Some(_)) => Header::From.bit() | Header::Contact.bit(),
        _ => 0,
    }
}

/// Progress of a scan; lives in memory between steps.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    at: u32,
    end: u32,
    /// Where the token being read began.
    mark: u32,
    /// Where the host of the URI being read begins.
    host: u32,
    /// Where parameters of the URI being read begin, or where an address without brackets ended; 0: not seen.
    cut: u32,
    number: u32,
    /// Where to go on after the host.
    next: u32,
    state: State,
    /// What reads on after a quoted string or a folded line end.
    back: State,
    header: Header,
    /// How a value of this header begins.
    value: State,
    /// Digits of `number` seen, parts of sent-protocol seen.
    count: u8,
    doubt: u8,
    done: bool,
    direction: Option<Direction>,
    /// Headers of which nothing is wanted, a bit for each.
    unwanted: u16,
    /// Groups of an IPv6 address seen.
    groups: u8,
    /// One more than the groups seen before `::`; 0: not seen.
    gap: u8,
    /// The host of the first Contact's URI, in network byte order, or of an IPv6 address what is before `::`.
    address: [u64; 2],
    /// The groups after `::`, the last in the lowest bits.
    tail: [u64; 2],
    /// What was found.
    pub message: Message,
}

// SAFETY: repr(C), aligned words (asserted where used); zero is a value of each field.
unsafe impl Words for Scan {}

/// The steps of a scan.
struct Steps<'s, S: ?Sized> {
    scan: &'s mut Scan,
    source: &'s S,
}

impl<S: Source + ?Sized> Step for Steps<'_, S> {
    const MANY: bool = true;

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.scan.step(self.source)
    }
}

impl Scan {
    /// Scans the message; what is found is left in `message`. Of a message that goes one way, headers of which nothing is
    /// wanted are only noted to be there; `None` reads all.
    ///
    /// # Errors
    /// A [`Doubt`] if the message should be left alone.
    #[inline(always)]
    pub fn run<S: Source + ?Sized, L: Repeat>(
        &mut self,
        source: &S,
        direction: Option<Direction>,
    ) -> Result<(), Doubt> {
        // SAFETY: a valid reference. All zero is before the first byte.
        unsafe { words::zero(self) };
        self.direction = direction;
        self.end = if source.len() > MAX_SCAN {
            MAX_SCAN
        } else {
            source.len()
        };
        L::repeat(MAX_STEPS, Steps { scan: self, source });
        match self.doubt {
            0 if !self.done => Err(Doubt::Truncated),
            0 => self.complete(),
            1 => Err(Doubt::Truncated),
            2 => Err(Doubt::Syntax),
            3 => Err(Doubt::Missing),
            _ => Err(Doubt::Duplicate),
        }
    }

    #[inline(always)]
    fn complete(&self) -> Result<(), Doubt> {
        let m = &self.message;
        let complete = m.headers & header::MANDATORY == header::MANDATORY
            && m.has(Field::CallId)
            && (m.status == 0 || m.has(Field::Branch));
        if m.star != 0 && m.contacts != 1 {
            return Err(Doubt::Syntax);
        }
        if complete {
            Ok(())
        } else {
            Err(Doubt::Missing)
        }
    }

    #[inline(always)]
    fn give_up(&mut self, why: Doubt) -> bool {
        self.doubt = why as u8;
        false
    }

    /// Neither a name nor a value goes on as it should at `at`, which a step before may have left past the end.
    #[inline(always)]
    fn break_off(&mut self, at: u32) -> bool {
        self.give_up(if at < self.end {
            Doubt::Syntax
        } else {
            Doubt::Truncated
        })
    }

    /// Goes on at `at` in `state`.
    #[inline(always)]
    fn go(&mut self, at: u32, state: State) -> bool {
        self.at = at;
        self.state = state;
        true
    }

    /// Where to go on, and how. Read from memory, so that the verifier takes it for unknown, and one round is like the
    /// other to it.
    #[inline(always)]
    fn place(&self) -> (u32, State) {
        // SAFETY: valid references. Volatile, so that the compiler keeps the state in memory.
        unsafe {
            (
                (&raw const self.at).read_volatile(),
                (&raw const self.state).read_volatile(),
            )
        }
    }

    /// One step, of parts in the order in which they often follow one another: what begins a line, and then either what
    /// does not matter of it, or what a value wants, and parameters. Each is made if it is its turn; the fewer steps, the less
    /// is mispredicted. False when nothing is left to do.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let (mut at, mut state) = self.place();
        if at >= self.end {
            return self.give_up(Doubt::Truncated);
        }
        if state == State::Line {
            if !self.line(source, at) {
                return false;
            }
            (at, state) = self.place();
        }
        if state == State::Skip {
            return self.skip(source, at);
        }
        if state != State::Params {
            if !self.part(source, at, state) {
                return false;
            }
            (at, state) = self.place();
            if state != State::Params {
                return true;
            }
            if at >= self.end {
                return self.give_up(Doubt::Truncated);
            }
        }
        self.params(source, at)
    }

    /// The second part of a step.
    #[inline(always)]
    fn part<S: Source + ?Sized>(&mut self, source: &S, at: u32, state: State) -> bool {
        let w = source.word(at);
        match state {
            State::Start => self.start(source, at, w),
            State::RequestUri => self.request_uri(source, at, w),
            State::Colon => self.colon(at, w),
            State::Value => self.value(at, w),
            State::Via => self.via(source, at, w),
            State::Protocol => self.protocol(at, w),
            State::Address => self.address(source, at, w),
            State::Name => self.name(source, at, w),
            State::Quoted => self.quoted(source, at, w),
            State::AfterName => self.after_name(source, at, w),
            State::Uri => self.uri(source, at, w),
            State::Host => self.host(source, at, w),
            State::Ipv6 => self.ipv6(at, w),
            State::HostEnd => self.host_end(source, at, w),
            State::Param => self.param(at, w),
            State::Equals => self.equals(at, w),
            State::ParamValue => self.param_value(at, w),
            State::ParamToken => self.param_token(source, at, w),
            State::ParamEnd => self.param_end(at, w),
            State::CallId => self.call_id(source, at),
            State::Number => self.number(source, at, w),
            State::CseqMethod => self.cseq_method(source, at, w),
            State::Tail => self.tail(at, w),
            // These are the other parts of a step.
            State::Line | State::Skip | State::Params => true,
        }
    }

    /// `Method SP Request-URI SP SIP/2.0` or `SIP/2.0 SP Status-Code SP Reason` (RFC 3261 7.1, 7.2).
    #[inline(always)]
    fn start<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        if w == text(b"SIP/2.0 ") {
            let w = source.word(at + 8);
            let (n, status) = digits(w);
            if n != 3 || byte(w, 3) != b' ' || !(100..=699).contains(&status) {
                return self.give_up(Doubt::Syntax);
            }
            self.message.status = status as u16;
            self.unwanted = unwanted(self.direction, None);
            return self.go(at + 12, State::Skip);
        }
        let next = source.word(at + 8);
        let Some((method, n)) = method(w, next) else {
            return self.give_up(Doubt::Syntax);
        };
        if byte(if n < 8 { w } else { next }, n) != b' ' {
            return self.give_up(Doubt::Syntax);
        }
        self.message.method = method;
        self.unwanted = unwanted(self.direction, Some(method));
        let uri = at + n + 1;
        if self.direction == Some(Direction::In) {
            // Whom a terminal asks is the PBX's matter.
            return self.go(uri, State::Skip);
        }
        let uri = uri + scheme(source.word(uri));
        self.mark = uri;
        self.go(uri, State::RequestUri)
    }

    #[inline(always)]
    fn request_uri<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = first(below(w, 0x21) | brackets(w));
        if n == 8 {
            return self.go(at + 8, State::RequestUri);
        }
        let end = at + n;
        let w = source.word(end);
        let version = source.word(end + 1);
        let eol = byte(version, 7);
        if byte(w, 0) != b' '
            || end == self.mark
            || head(version, 7) != text(b"SIP/2.0")
            || (eol != b'\r' && eol != b'\n')
        {
            return self.give_up(Doubt::Syntax);
        }
        self.put(Field::RequestUri as usize, Span::between(self.mark, end));
        self.break_line(end + 8, source.word(end + 8))
    }

    /// Finds the end of a line that does not matter. Its folded continuation is found by `line`.
    #[inline(always)]
    fn skip<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        // Line ends, and control characters that mean nothing here.
        let n = far(source, at, |w| below(w, b'\r' + 1));
        let at = at + n;
        if n == WIDE {
            return self.go(at, State::Skip);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'\r' | b'\n' => self.break_line(at, w),
            _ => self.go(at + first(equal(w, b'\n') | equal(w, b'\r')), State::Skip),
        }
    }

    /// A line that does not matter ends at the first byte of `w`; a lone CR, which some take for an end and
    /// others not, is in doubt.
    #[inline(always)]
    fn break_line(&mut self, at: u32, w: u64) -> bool {
        match (byte(w, 0), byte(w, 1)) {
            (b'\n', _) => self.go(at + 1, State::Line),
            (_, b'\n') => self.go(at + 2, State::Line),
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// The first part of a step: tells headers by their names, long or compact (RFC 3261 7.3.3), in any case.
    #[inline(always)]
    fn line<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let stops = equal(w, b':') | below(w, 0x21);
        let found = &HEADERS[slot(name(w, stops))];
        if found.name != name(w, stops) {
            if byte(w, 0) == b'\n' || head(w, 2) == text(b"\r\n") {
                self.done = true;
                return false;
            }
            return self.go(at, State::Skip);
        }
        let mut at = at + first(stops);
        let m = &mut self.message;
        match found.header {
            Header::Route => {
                m.headers |= header::ROUTE;
                return self.go(at, State::Skip);
            }
            Header::RecordRoute => {
                let rest = source.word(at);
                if !starts(rest, b"oute") || !matches!(byte(rest, 4), b':' | b' ' | b'\t') {
                    return self.go(at, State::Skip);
                }
                at += 4;
            }
            _ => {}
        }
        if m.headers & found.once != 0 {
            return self.give_up(Doubt::Duplicate);
        }
        m.headers |= found.once;
        if self.unwanted & found.header.bit() != 0 {
            return self.go(at, State::Skip);
        }
        self.header = found.header;
        self.value = found.value;
        let w = source.word(at);
        if head(w, 2) == text(b": ") && byte(w, 2) > b' ' {
            return self.begin(at + 2);
        }
        self.go(at, State::Colon)
    }

    /// `HCOLON` where it is not just a colon and a space.
    #[inline(always)]
    fn colon(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::Colon);
        }
        if b != b':' {
            return self.break_off(at);
        }
        self.go(at + 1, State::Value)
    }

    /// White space, folded or not, before a value.
    #[inline(always)]
    fn value(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::Value);
        }
        if b < 0x21 {
            // An empty value: none of the headers that matter may be empty.
            return match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, State::Value),
                _ => self.give_up(Doubt::Syntax),
            };
        }
        self.begin(at)
    }

    /// A value begins.
    #[inline(always)]
    fn begin(&mut self, at: u32) -> bool {
        self.mark = at;
        self.host = 0;
        self.cut = 0;
        self.number = 0;
        self.count = 0;
        self.back = State::Tail;
        self.go(at, self.value)
    }

    #[inline(always)]
    fn call_id<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let n = far(source, at, |w| below(w, 0x21));
        let at = at + n;
        if n == WIDE {
            return self.go(at, State::CallId);
        }
        self.put(Field::CallId as usize, Span::between(self.mark, at));
        self.tail(at, source.word(at))
    }

    /// Digits of CSeq, Expires or `expires=`. A number beyond 32 bits is in doubt.
    #[inline(always)]
    fn number<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let (n, v) = digits(w);
        if n > 0 {
            let number = u64::from(self.number) * power_of_ten(n) + u64::from(v);
            if number > u64::from(u32::MAX) {
                return self.give_up(Doubt::Syntax);
            }
            self.number = number as u32;
            self.count = 1;
        }
        if n == 8 {
            return self.go(at + 8, State::Number);
        }
        if self.count == 0 {
            return self.give_up(Doubt::Syntax);
        }
        match self.header {
            Header::Cseq => {
                self.message.cseq = self.number;
                // RFC 3261 8.1.1.5: less than 2**31.
                if byte(w, n) > b' ' || self.number > i32::MAX as u32 {
                    return self.give_up(Doubt::Syntax);
                }
                let next = source.word(at + n + 1);
                if byte(w, n) == b' ' && byte(next, 0) > b' ' {
                    return self.cseq_method(source, at + n + 1, next);
                }
                self.go(at + n, State::CseqMethod)
            }
            Header::Expires => {
                self.message.expires = self.number;
                self.tail(at + n, source.word(at + n))
            }
            _ => {
                if !ends_address(byte(w, n)) {
                    return self.give_up(Doubt::Syntax);
                }
                let index = usize::from(self.message.contacts.wrapping_sub(1));
                if index < MAX_CONTACTS {
                    let index = bounded::<MAX_CONTACTS>(index);
                    // SAFETY: the index is in bounds.
                    unsafe {
                        *self.message.contact_expires.get_unchecked_mut(index) =
                            self.number.saturating_add(1);
                    }
                }
                self.go(at + n, State::ParamEnd)
            }
        }
    }

    #[inline(always)]
    fn cseq_method<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::CseqMethod);
        }
        if b < 0x21 {
            return match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, State::CseqMethod),
                _ => self.give_up(Doubt::Syntax),
            };
        }
        let Some((method, n)) = method(w, source.word(at + 8)) else {
            return self.give_up(Doubt::Syntax);
        };
        if self.message.status == 0 {
            // RFC 3261 8.1.1.5: it must be that of the request.
            if method != self.message.method {
                return self.give_up(Doubt::Syntax);
            }
        } else {
            self.message.method = method;
        }
        self.tail(at + n, source.word(at + n))
    }

    /// The beginning of a name-addr or addr-spec (RFC 3261 25.1).
    #[inline(always)]
    fn address<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let m = &mut self.message;
        match self.header {
            Header::Contact => m.contacts = m.contacts.saturating_add(1),
            Header::RecordRoute => m.record_routes = m.record_routes.saturating_add(1),
            _ => {}
        }
        match byte(w, 0) {
            b'<' => self.open(source, at + 1),
            b'"' => self.quote(at),
            b'*' if self.header == Header::Contact => {
                m.star = 1;
                self.go(at + 1, State::Tail)
            }
            _ => {
                self.mark = at + scheme(w);
                self.go(self.mark, State::Name)
            }
        }
    }

    /// A quoted display name begins: a URI must follow.
    #[inline(always)]
    fn quote(&mut self, at: u32) -> bool {
        self.mark = NOWHERE;
        self.back = State::Name;
        self.go(at + 1, State::Quoted)
    }

    /// A display name, or an address without brackets: which of them it was shows at its end.
    #[inline(always)]
    fn name<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        // Below '#' are white space, line ends, the quote, and '!'. An address with a '?' must be in brackets
        // (RFC 3261 20).
        let n = first(
            below(w, b'#')
                | brackets(w)
                | equal(w, b'?')
                | equal(w, b';')
                | equal(w, b',')
                | equal(w, b'@'),
        );
        let at = at + n;
        if n == 8 {
            return self.go(at, State::Name);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b' ' if byte(w, 1) == b'<' => self.open(source, at + 2),
            b'<' => self.open(source, at + 1),
            b'"' => self.quote(at),
            b'@' => {
                self.host = at + 1;
                self.go(at + 1, State::Name)
            }
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b',' => {
                self.cut = at;
                self.go(at, State::AfterName)
            }
            b'!' => self.go(at + 1, State::Name),
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// After a token of a display name, or after an address without brackets, which ended at `cut`.
    #[inline(always)]
    fn after_name<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        match byte(w, 0) {
            b' ' | b'\t' => self.go(at + 1, State::AfterName),
            b'<' => self.open(source, at + 1),
            b';' | b',' => self.close(self.cut, at),
            b'\r' | b'\n' => match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, State::AfterName),
                LineEnd::Last(_) => self.close(self.cut, at),
                LineEnd::Bad => self.give_up(Doubt::Syntax),
            },
            _ => {
                self.mark = NOWHERE;
                self.go(at, State::Name)
            }
        }
    }

    /// A URI in brackets begins.
    #[inline(always)]
    fn open<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        self.mark = at + scheme(source.word(at));
        self.host = 0;
        self.cut = 0;
        self.go(self.mark, State::Uri)
    }

    /// A URI in brackets.
    #[inline(always)]
    fn uri<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = reach(source, at, w, |w| {
            // `>` and `?` differ in one bit.
            below(w, 0x21)
                | equal(w, b'@')
                | equal(w, b';')
                | equal(w | 0x0101_0101_0101_0101, b'?')
        });
        let at = at + n;
        if n == REACH {
            return self.go(at, State::Uri);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'@' => {
                // What looked like parameters was part of the user (RFC 3261 25.1, user-unreserved).
                self.host = at + 1;
                self.cut = 0;
                self.go(at + 1, State::Uri)
            }
            b';' | b'?' => {
                if self.cut == 0 {
                    self.cut = at;
                }
                self.go(at + 1, State::Uri)
            }
            b'>' if ends_address(byte(w, 1)) => self.close(at, at + 1),
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// A URI ended at `end`: notes it. What follows it is at `next`.
    #[inline(always)]
    fn close(&mut self, end: u32, next: u32) -> bool {
        if self.mark >= end {
            return self.give_up(Doubt::Syntax);
        }
        let address = if self.cut == 0 { end } else { self.cut };
        match self.header {
            Header::From => self.put(Field::FromUri as usize, Span::between(self.mark, address)),
            Header::To => self.put(Field::ToUri as usize, Span::between(self.mark, address)),
            Header::Contact => {
                let index = usize::from(self.message.contacts.wrapping_sub(1));
                if index < MAX_CONTACTS {
                    self.put(
                        Field::Contact as usize + index,
                        Span::between(self.mark, end),
                    );
                }
                if index == 0 {
                    self.next = next;
                    let host = if self.host == 0 { self.mark } else { self.host };
                    return self.go(host, State::Host);
                }
            }
            _ => {}
        }
        self.go(next, State::Params)
    }

    /// The beginning of a Via (RFC 3261 25.1, `via-parm`), which mostly is `SIP/2.0/UDP` and a space.
    #[inline(always)]
    fn via<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let m = &mut self.message;
        m.headers |= header::VIA;
        m.vias = m.vias.saturating_add(1);
        if starts(w, b"sip/2.0/") {
            let rest = source.word(at + 8);
            let b = byte(rest, 4);
            if starts(rest, b"udp ") && b > b' ' && !matches!(b, b'/' | b';' | b',') {
                return self.go(at + 12, State::Params);
            }
        }
        self.go(at, State::Protocol)
    }

    /// `sent-protocol LWS sent-by` (RFC 3261 25.1), white space around the slashes included. Where one Via ends
    /// and the next begins must not be in doubt: each must say that it is of SIP.
    #[inline(always)]
    fn protocol(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::Protocol);
        }
        if b < 0x21 {
            return match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, State::Protocol),
                _ => self.give_up(Doubt::Syntax),
            };
        }
        let n = first(below(w, 0x21) | equal(w, b'/') | equal(w, b';') | equal(w, b','));
        let n = match self.count {
            0 if n == 3 && starts(w, b"sip") => 3,
            1 | 3 if b == b'/' => 1,
            2 if n == 3 && starts(w, b"2.0") => 3,
            // A transport of more than seven characters is read as several.
            4 if n == 8 => return self.go(at + 7, State::Protocol),
            4 if n > 0 && byte(w, n) < 0x21 => n,
            5 if n > 0 => return self.go(at, State::Params),
            _ => return self.give_up(Doubt::Syntax),
        };
        self.count = self.count.wrapping_add(1);
        self.go(at + n, State::Protocol)
    }

    /// A dotted quad. A host that is no address is left unknown.
    #[inline(always)]
    fn host<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let alone = self.groups == 0 && self.gap == 0;
        if alone && byte(w, 0) == b'[' {
            return self.go(at + 1, State::Ipv6);
        }
        // Not in a loop: one step may not hold any.
        let quad = octet(source, at, 0)
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
            .and_then(|(at, quad)| octet(source, dot(source, at)?, quad));
        let Some((at, quad)) = quad else {
            return self.go(self.next, State::Params);
        };
        let w = source.word(at);
        if alone {
            self.address = Endpoint::v4(quad.to_be_bytes(), 0).addr;
            return self.host_end(source, at, w);
        }
        self.group(quad >> 16);
        self.group(quad & 0xffff);
        self.ipv6_end(at, byte(w, 0))
    }

    /// A group of an IPv6 address (RFC 4291 2.2), and the colon or colons after it.
    #[inline(always)]
    fn ipv6(&mut self, at: u32, w: u64) -> bool {
        let (n, v) = hex_digits(w);
        let b = byte(w, n);
        if n > 4 || self.groups >= 8 {
            return self.go(self.next, State::Params);
        }
        if b == b'.' {
            return self.go(at, State::Host);
        }
        if n > 0 {
            self.group(v);
        } else if self.gap == 0 && self.groups > 0 || self.gap > 0 && self.gap <= self.groups {
            // After a single colon there must be a group.
            return self.go(self.next, State::Params);
        }
        if b != b':' {
            return self.ipv6_end(at + n, b);
        }
        if byte(w, n + 1) == b':' {
            if self.gap != 0 {
                return self.go(self.next, State::Params);
            }
            self.gap = self.groups.wrapping_add(1);
            return self.go(at + n + 2, State::Ipv6);
        }
        // Neither the first thing nor what follows `::` is a colon.
        let state = if n == 0 { State::Params } else { State::Ipv6 };
        self.go(if n == 0 { self.next } else { at + n + 1 }, state)
    }

    /// Adds a group: before `::` at its place, after it at the end.
    #[inline(always)]
    fn group(&mut self, group: u32) {
        if self.gap == 0 {
            let group = u64::from(group) << (48 - 16 * u32::from(self.groups & 3));
            if self.groups < 4 {
                self.address[0] |= group.to_be();
            } else {
                self.address[1] |= group.to_be();
            }
        } else {
            self.tail[0] = self.tail[0] << 16 | self.tail[1] >> 48;
            self.tail[1] = self.tail[1] << 16 | u64::from(group);
        }
        self.groups = self.groups.wrapping_add(1);
    }

    /// The end of an IPv6 address, if `b` ends it and it is whole: `::` stands for at least one group.
    #[inline(always)]
    fn ipv6_end(&mut self, at: u32, b: u8) -> bool {
        let whole = if self.gap == 0 {
            self.groups == 8
        } else {
            self.groups < 8
        };
        if b != b']' || !whole {
            return self.go(self.next, State::Params);
        }
        self.address[0] |= self.tail[0].to_be();
        self.address[1] |= self.tail[1].to_be();
        self.go(at + 1, State::HostEnd)
    }

    /// The port, if there is one.
    #[inline(always)]
    fn host_end<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        if byte(w, 0) == b':' {
            let w = source.word(at + 1);
            let (n, v) = digits(w);
            if n > 0 && n < 6 && v > 0 && v <= 0xffff && ends_host(byte(w, n)) {
                self.advertise(v);
            }
        } else if ends_host(byte(w, 0)) {
            // RFC 3261 19.1.2: the default port of sip over UDP.
            self.advertise(5060);
        }
        self.go(self.next, State::Params)
    }

    #[inline(always)]
    fn advertise(&mut self, port: u32) {
        self.message.advertised.addr[0] = self.address[0];
        self.message.advertised.addr[1] = self.address[1];
        self.message.advertised.port = port;
    }

    /// The third part of a step: between parameters, or inside one that does not matter. Of Via, also what comes before
    /// them.
    #[inline(always)]
    fn params<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        // A bracket here could be the address, and what came before it a display name.
        let n = reach(source, at, w, |w| {
            below(w, b'#') | equal(w, b';') | equal(w, b',') | brackets(w)
        });
        let at = at + n;
        if n == REACH {
            return self.go(at, State::Params);
        }
        let w = source.word(at);
        self.back = State::Params;
        match byte(w, 0) {
            b';' => {
                // Only the topmost Via names this hop's transaction.
                let skip = match self.header {
                    Header::Via => self.message.vias != 1,
                    Header::RecordRoute => true,
                    _ => false,
                };
                if skip {
                    return self.go(at + 1, State::Params);
                }
                self.param(at + 1, source.word(at + 1))
            }
            b',' => match self.header {
                Header::Via | Header::RecordRoute | Header::Contact => {
                    self.go(at + 1, State::Value)
                }
                _ => self.give_up(Doubt::Syntax),
            },
            b'"' => self.go(at + 1, State::Quoted),
            b'\r' | b'\n' => self.tail(at, w),
            b' ' | b'\t' | b'!' => self.go(at + 1, State::Params),
            _ => self.give_up(Doubt::Syntax),
        }
    }

    #[inline(always)]
    fn param(&mut self, at: u32, w: u64) -> bool {
        let n = match self.header {
            _ if is_blank(byte(w, 0)) => return self.go(at + 1, State::Param),
            _ if byte(w, 0) < 0x21 => {
                self.back = State::Param;
                return self.go(at, State::Tail);
            }
            Header::Via if starts(w, b"branch") => 6,
            Header::From | Header::To if starts(w, b"tag") => 3,
            Header::Contact if starts(w, b"expires") => 7,
            _ => return self.go(at, State::Params),
        };
        match byte(w, n) {
            b'=' if n < 7 && byte(w, n + 1) > b' ' => {
                self.mark = at + n + 1;
                self.go(self.mark, State::ParamToken)
            }
            b'=' => self.go(at + n + 1, State::ParamValue),
            b' ' | b'\t' | b'\r' | b'\n' => self.go(at + n, State::Equals),
            _ => self.go(at, State::Params),
        }
    }

    /// `EQUAL` may be surrounded by white space.
    #[inline(always)]
    fn equals(&mut self, at: u32, w: u64) -> bool {
        match byte(w, 0) {
            b'=' => self.go(at + 1, State::ParamValue),
            b' ' | b'\t' => self.go(at + 1, State::Equals),
            // A folded `=` is legal and never seen; a parameter that should have a value has none.
            _ => self.give_up(Doubt::Syntax),
        }
    }

    #[inline(always)]
    fn param_value(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::ParamValue);
        }
        if self.header == Header::Contact {
            let index = usize::from(self.message.contacts.wrapping_sub(1));
            if self.message.contact_expires(index).is_some() && index < MAX_CONTACTS {
                return self.give_up(Doubt::Duplicate);
            }
            self.count = 0;
            self.number = 0;
            return self.go(at, State::Number);
        }
        self.mark = at;
        self.go(at, State::ParamToken)
    }

    /// A tag or a branch.
    #[inline(always)]
    fn param_token<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = reach(source, at, w, token_end);
        let at = at + n;
        if n == REACH {
            return self.go(at, State::ParamToken);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'!' | b'~' => return self.go(at + 1, State::ParamToken),
            b if ends_address(b) && at > self.mark => {}
            _ => return self.give_up(Doubt::Syntax),
        }
        let field = match self.header {
            Header::From => Field::FromTag,
            Header::To => Field::ToTag,
            _ => Field::Branch,
        };
        if self.message.has(field) {
            return self.give_up(Doubt::Duplicate);
        }
        self.put(field as usize, Span::between(self.mark, at));
        self.param_end(at, w)
    }

    /// After a parameter that matters comes another one, another value or the line end.
    #[inline(always)]
    fn param_end(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + 1, State::ParamEnd);
        }
        if b == b';' || b == b',' {
            return self.go(at, State::Params);
        }
        self.back = State::ParamEnd;
        self.go(at, State::Tail)
    }

    #[inline(always)]
    fn quoted<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = first(equal(w, b'"') | equal(w, b'\\') | below(w, b' '));
        let at = at + n;
        if n == 8 {
            return self.go(at, State::Quoted);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'"' => self.go(at + 1, self.back),
            b'\\' if byte(w, 1) >= b' ' => self.go(at + 2, State::Quoted),
            b'\t' => self.go(at + 1, State::Quoted),
            // A quoted string over two lines is legal and never seen.
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// Nothing but white space may come before the line end; if the line goes on, `back` reads on.
    #[inline(always)]
    fn tail(&mut self, at: u32, w: u64) -> bool {
        if is_blank(byte(w, 0)) {
            return self.go(at + 1, State::Tail);
        }
        match line_end(w) {
            LineEnd::Last(n) => self.go(at + n, State::Line),
            LineEnd::Folded(n) => self.go(at + n, self.back),
            LineEnd::Bad => self.break_off(at),
        }
    }

    #[inline(always)]
    fn put(&mut self, index: usize, span: Span) {
        let index = bounded::<SPANS>(index);
        // SAFETY: the index is in bounds.
        unsafe { *self.message.spans.get_unchecked_mut(index) = span };
    }
}

/// A header that matters.
#[derive(Clone, Copy)]
struct Known {
    /// Its name in lower case, or the first eight bytes of it.
    name: u64,
    header: Header,
    /// How its value begins.
    value: State,
    /// Its bit in [`Message::headers`], if it may be there only once.
    once: u8,
}

/// The headers that matter, each at the [`slot`] of its name.
static HEADERS: [Known; 16] = {
    const fn known(name: &[u8], header: Header) -> Known {
        let (value, once) = match header {
            Header::Via => (State::Via, 0),
            Header::From => (State::Address, header::FROM),
            Header::To => (State::Address, header::TO),
            Header::CallId => (State::CallId, header::CALL_ID),
            Header::Cseq => (State::Number, header::CSEQ),
            Header::Contact | Header::RecordRoute => (State::Address, 0),
            Header::Expires => (State::Number, header::EXPIRES),
            Header::Route => (State::Skip, 0),
        };
        Known {
            name: text(name),
            header,
            value,
            once,
        }
    }
    let all = [
        known(b"via", Header::Via),
        known(b"v", Header::Via),
        known(b"from", Header::From),
        known(b"f", Header::From),
        known(b"to", Header::To),
        known(b"t", Header::To),
        known(b"call-id", Header::CallId),
        known(b"i", Header::CallId),
        known(b"cseq", Header::Cseq),
        known(b"contact", Header::Contact),
        known(b"m", Header::Contact),
        known(b"expires", Header::Expires),
        known(b"record-r", Header::RecordRoute),
        known(b"route", Header::Route),
    ];
    // No name is like that.
    let mut table = [known(b"        ", Header::Route); 16];
    let mut i = 0;
    while i < all.len() {
        let slot = slot(all[i].name);
        assert!(
            table[slot].name == text(b"        "),
            "two names in one slot"
        );
        table[slot] = all[i];
        i += 1;
    }
    table
};

/// Where a name is in [`HEADERS`]. The factor was found by trying: with it no two are in one place.
#[inline(always)]
const fn slot(name: u64) -> usize {
    (name.wrapping_mul(0x98dbc89d108eb699) >> 60) as usize
}

/// The name that ends at the first of `stops`, in lower case. What is no letter and becomes one is not found in a
/// name, and control characters end it.
#[inline(always)]
const fn name(w: u64, stops: u64) -> u64 {
    // Ones below the first stop; where there is none, all of them.
    let before = stops.wrapping_sub(1) & !stops;
    (w | 0x2020_2020_2020_2020) & (before as i64 >> 7) as u64
}

/// An octet of a dotted quad, after those in `quad`. What is after it, and the quad with it.
#[inline(always)]
fn octet<S: Source + ?Sized>(source: &S, at: u32, quad: u32) -> Option<(u32, u32)> {
    let (n, v) = digits(source.word(at));
    let right = n > 0 && n < 4 && v < 256;
    right.then_some((at + n, quad << 8 | v))
}

/// What is after a dot.
#[inline(always)]
fn dot<S: Source + ?Sized>(source: &S, at: u32) -> Option<u32> {
    (byte(source.word(at), 0) == b'.').then_some(at + 1)
}

/// A `mark` beyond every end: no URI has begun.
const NOWHERE: u32 = u32::MAX;

/// How far it is from `at` to the first byte that `finds` finds, at most [`WIDE`].
#[inline(always)]
fn far<S: Source + ?Sized>(source: &S, at: u32, finds: impl Fn(u64) -> u64) -> u32 {
    let [first, second, third, fourth] = source.words(at);
    first_of_four([finds(first), finds(second), finds(third), finds(fourth)])
}

/// Bytes that one step looks at where few words or tokens are longer.
const REACH: u32 = 16;

/// How far it is from `at`, where `w` is, to the first byte that `finds` finds, at most [`REACH`].
#[inline(always)]
fn reach<S: Source + ?Sized>(source: &S, at: u32, w: u64, finds: impl Fn(u64) -> u64) -> u32 {
    let n = first(finds(w));
    if n < 8 {
        return n;
    }
    8 + first(finds(source.word(at + 8)))
}

/// Angle brackets: they differ in one bit.
#[inline(always)]
const fn brackets(w: u64) -> u64 {
    equal(w & !0x0202_0202_0202_0202, b'<')
}

#[inline(always)]
const fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// What may follow a URI in brackets, or a parameter.
#[inline(always)]
const fn ends_address(b: u8) -> bool {
    matches!(b, b';' | b',' | b' ' | b'\t' | b'\r' | b'\n')
}

/// What may follow a host in a URI, in brackets or without.
#[inline(always)]
const fn ends_host(b: u8) -> bool {
    matches!(b, b'>' | b';' | b'?' | b',' | b' ' | b'\t' | b'\r' | b'\n')
}

enum LineEnd {
    /// The header ends; the next line begins after so many bytes.
    Last(u32),
    /// The header goes on in the next line (RFC 3261 7.3.1), with the white space there.
    Folded(u32),
    /// Not a line end: a lone CR, or a character that must not be here.
    Bad,
}

/// Tells a line end at the beginning of `w`. A lone LF is taken for one, as PBXs do.
#[inline(always)]
const fn line_end(w: u64) -> LineEnd {
    let n = match (byte(w, 0), byte(w, 1)) {
        (b'\n', _) => 1,
        (b'\r', b'\n') => 2,
        _ => return LineEnd::Bad,
    };
    if is_blank(byte(w, n)) {
        LineEnd::Folded(n)
    } else {
        LineEnd::Last(n)
    }
}

/// Length of `sip:` or `sips:`; another scheme counts as part of the URI.
#[inline(always)]
const fn scheme(w: u64) -> u32 {
    if starts(w, b"sip:") {
        4
    } else if starts(w, b"sips:") {
        5
    } else {
        0
    }
}

/// The method at the beginning of `w` and `next`, and its length. It is case-sensitive (RFC 3261
/// 7.1) and ends with white space. Methods that sipnat does not know may be up to 15 bytes.
#[inline(always)]
const fn method(w: u64, next: u64) -> Option<(Method, u32)> {
    let n = first(below(w, 0x21));
    let method = match n {
        0 => return None,
        3 if head(w, 3) == text(b"ACK") => Method::Ack,
        3 if head(w, 3) == text(b"BYE") => Method::Bye,
        4 if head(w, 4) == text(b"INFO") => Method::Info,
        5 if head(w, 5) == text(b"REFER") => Method::Refer,
        5 if head(w, 5) == text(b"PRACK") => Method::Prack,
        6 if head(w, 6) == text(b"INVITE") => Method::Invite,
        6 if head(w, 6) == text(b"CANCEL") => Method::Cancel,
        6 if head(w, 6) == text(b"NOTIFY") => Method::Notify,
        6 if head(w, 6) == text(b"UPDATE") => Method::Update,
        7 if head(w, 7) == text(b"MESSAGE") => Method::Message,
        7 if head(w, 7) == text(b"OPTIONS") => Method::Options,
        7 if head(w, 7) == text(b"PUBLISH") => Method::Publish,
        8 => {
            let more = first(below(next, 0x21));
            if more == 0 && w == text(b"REGISTER") {
                Method::Register
            } else if more == 1 && w == text(b"SUBSCRIB") && byte(next, 0) == b'E' {
                return Some((Method::Subscribe, 9));
            } else if more == 8 {
                return None;
            } else {
                return Some((Method::Other, 8 + more));
            }
        }
        _ => Method::Other,
    };
    Some((method, n))
}

/// 10 to the power of `n`, for `n` up to 2; beyond, enough to overflow 32 bits with any digit
/// before it.
#[inline(always)]
const fn power_of_ten(n: u32) -> u64 {
    match n {
        1 => 10,
        2 => 100,
        _ => 1 << 32,
    }
}
