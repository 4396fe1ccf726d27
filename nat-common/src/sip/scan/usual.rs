//! Straight-line code that reads the headers that the walk has found, each in the form in which most devices write it.
//!
//! A function that reads a header returns `None` where the header has another form. The caller then gives the message to
//! the machine, which reads whatever it is. So each shape here is a narrow one: nothing is decided, only recognised.

use super::grammar::scheme;
use super::host::{dotted_quad, port};
use super::methods::method;
use super::table::{Header, Needed, ignored};
use super::walk::{Lines, Value};
use crate::bytes::swar::{byte, digits, head, literal, lowest_bit, starts_with};
use crate::bytes::{Class, Source, Span, WIDE};
use crate::endpoint::Endpoint;
use crate::sip::field::Field;
use crate::sip::header;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// Longest token or URI that is read here, in bytes.
const LONG: u32 = 2 * WIDE;

/// Reads the headers into an empty message. False if one has another form.
#[inline(always)]
pub(super) fn read<S: Source + ?Sized>(
    source: &S,
    lines: &Lines,
    needed: Needed,
    message: &mut Message,
) -> bool {
    Usual {
        source,
        lines,
        needed,
        message,
        method_len: 0,
    }
    .read()
    .is_some()
}

struct Usual<'s, S: ?Sized> {
    source: &'s S,
    lines: &'s Lines,
    needed: Needed,
    message: &'s mut Message,
    /// Length of a request's method.
    method_len: u32,
}

impl<S: Source + ?Sized> Usual<'_, S> {
    #[inline(always)]
    fn read(mut self) -> Option<()> {
        require(self.lines.is_done())?;
        let mandatory = [
            Header::Via,
            Header::From,
            Header::To,
            Header::CallId,
            Header::Cseq,
        ];
        require(mandatory.into_iter().all(|header| self.lines.seen(header)))?;
        self.message.headers = header::MANDATORY;
        let ignored = self.start_line()?;
        self.via()?;
        self.call_id()?;
        self.cseq()?;
        self.address(Header::To, Field::ToUri, Field::ToTag)?;
        if ignored & Header::From.bit() == 0 {
            self.address(Header::From, Field::FromUri, Field::FromTag)?;
        }
        if ignored & Header::Contact.bit() == 0 && self.lines.seen(Header::Contact) {
            self.contact()?;
        }
        if self.lines.seen(Header::Expires) {
            self.expires()?;
        }
        if self.lines.seen(Header::Route) {
            // The colon before the value.
            let at = self.lines.value(Header::Route).start - 2;
            self.message.headers |= header::ROUTE;
            self.set(Field::Route, at, at + 1);
        }
        if self.lines.seen(Header::Credentials) {
            self.message.headers |= header::CREDENTIALS;
        }
        Some(())
    }

    /// Reads `SIP/2.0 SP Status-Code`, or a method of RFC 3261 or its extensions and, where it is needed, the Request-URI.
    /// Returns the headers that are not needed.
    #[inline(always)]
    fn start_line(&mut self) -> Option<u16> {
        let w = self.source.word(0);
        let next = self.source.word(8);
        let end = self.lines.start_line;
        if w == literal(b"SIP/2.0 ") {
            let (n, status) = digits(next);
            let has_end = byte(next, 3) == b' ' || end == 11;
            require(n == 3 && has_end && (100..=699).contains(&status))?;
            self.message.status = status as u16;
            return Some(ignored(self.needed, None));
        }
        let (method, n) = method(w, next)?;
        let after = byte(if n < 8 { w } else { next }, n);
        require(method != Method::Other && after == b' ')?;
        self.message.method = method;
        self.method_len = n;
        if self.needed != Needed::In || method == Method::Register {
            self.request_uri(n + 1, end)?;
        }
        Some(ignored(self.needed, Some(method)))
    }

    /// Reads the Request-URI and `SP SIP/2.0`, from `at` to `end`.
    #[inline(always)]
    fn request_uri(&mut self, at: u32, end: u32) -> Option<()> {
        let uri = at + scheme(self.source.word(at));
        // The space before the version is the first byte that no URI has.
        let stop = end.wrapping_sub(8);
        require(self.source.word(stop) == literal(b" SIP/2.0"))?;
        let mut ends = self.near(uri, Class::RequestUriEnd);
        if ends == 0 {
            ends = self.source.find(uri + WIDE, Class::RequestUriEnd) << WIDE;
        }
        let n = lowest(ends)?;
        require(n != 0 && uri + n == stop)?;
        self.set(Field::RequestUri, uri, stop);
        Some(())
    }

    /// Reads one Via: `SIP/2.0/UDP`, sent-by, and parameters with a branch.
    #[inline(always)]
    fn via(&mut self) -> Option<()> {
        let Value { start, end } = self.lines.value(Header::Via);
        let rest = self.source.word(start + 8);
        require(starts_with(self.source.word(start), b"sip/2.0/") && starts_with(rest, b"udp "))?;
        let sent_by = start + 12;
        let params = self.token(sent_by, end)?;
        require(byte(rest, 4) != b'/')?;
        let branch = self.branch(params)?;
        let stop = self.token(branch, end)?;
        self.set(Field::Branch, branch, stop);
        self.message.vias = 1;
        let rest = end - stop;
        let known = rest == 0 || rest == 6 && starts_with(self.source.word(stop), b";rport");
        require(known || rest < LONG && self.params(stop) & ones(rest) == 0)
    }

    /// Finds the branch among the parameters at `at`. Mostly it is the first, or `rport` is.
    #[inline(always)]
    fn branch(&self, mut at: u32) -> Option<u32> {
        if starts_with(self.source.word(at), b";rport;b") {
            at += 6;
        }
        if !starts_with(self.source.word(at), b";branch=") {
            let params = self.params(at);
            require(params != 0)?;
            at = at.wrapping_add(lowest_bit(params)).wrapping_sub(1);
            require(starts_with(self.source.word(at), b";branch="))?;
        }
        Some(at + 8)
    }

    /// Finds names that begin with a `b`, and bytes that no usual parameter holds, in [`LONG`] bytes from `at`.
    #[inline(always)]
    fn params(&self, at: u32) -> u64 {
        let find =
            |at, class| self.source.find(at, class) | self.source.find(at + WIDE, class) << WIDE;
        find(at, Class::ParamsEnd) | find(at - 1, Class::Semicolon) & find(at, Class::B)
    }

    #[inline(always)]
    fn call_id(&mut self) -> Option<()> {
        let Value { start, end } = self.lines.value(Header::CallId);
        let len = end.wrapping_sub(start);
        require(len != 0 && len <= LONG)?;
        let mut spaces = self.near(start, Class::Space);
        if len > WIDE {
            spaces |= self.source.find(start + WIDE, Class::Space) << WIDE;
        }
        require(spaces & ones(len) == 0)?;
        self.set(Field::CallId, start, end);
        Some(())
    }

    /// Reads a number of up to seven digits, a space and the method.
    #[inline(always)]
    fn cseq(&mut self) -> Option<()> {
        let Value { start, end } = self.lines.value(Header::Cseq);
        let w = self.source.word(start);
        let (n, number) = digits(w);
        require(n != 0 && n != 8 && byte(w, n) == b' ')?;
        let at = start + n + 1;
        let (w, next) = (self.source.word(at), self.source.word(at + 8));
        if self.message.status == 0 {
            // The start line begins with it.
            let n = end.wrapping_sub(at);
            let same = head(w ^ self.source.word(0), n) == 0
                && (n <= 8 || head(next ^ self.source.word(8), n - 8) == 0);
            require(n == self.method_len && same)?;
        } else {
            let (method, n) = method(w, next)?;
            require(at + n == end)?;
            self.message.method = method;
        }
        self.message.cseq = number;
        Some(())
    }

    /// Reads From or To: a URI in brackets, and a tag or nothing.
    #[inline(always)]
    fn address(&mut self, header: Header, uri: Field, tag: Field) -> Option<()> {
        let Value { start, end } = self.lines.value(header);
        let address = self.name_addr(start)?;
        self.set(uri, address.uri, address.end);
        let at = address.bracket + 1;
        if at == end {
            return Some(());
        }
        let w = self.source.word(at);
        require(starts_with(w, b";tag="))?;
        let token = at + 5;
        let stop = self.token(token, end)?;
        self.set(tag, token, stop);
        require(stop == end)
    }

    /// Reads a Contact: a URI in brackets.
    #[inline(always)]
    fn contact(&mut self) -> Option<()> {
        let Value { start, end } = self.lines.value(Header::Contact);
        let address = self.name_addr(start)?;
        self.set(Field::Contact, address.uri, address.bracket);
        self.message.contacts = 1;
        self.advertised(address.host)?;
        require(address.bracket + 1 == end)
    }

    /// Reads the IPv4 address and the port at `at`, if they are there.
    #[inline(always)]
    fn advertised(&mut self, at: u32) -> Option<()> {
        require(byte(self.source.word(at), 0) != b'[')?;
        if let Some((at, quad)) = dotted_quad(self.source, at) {
            let port = port(self.source, at);
            let address = Endpoint::v4(quad.to_be_bytes(), 0).addr;
            if port != 0 {
                self.message.advertised.addr[0] = address[0];
                self.message.advertised.addr[1] = address[1];
                self.message.advertised.port = port;
            }
        }
        Some(())
    }

    /// Reads a number of up to seven digits.
    #[inline(always)]
    fn expires(&mut self) -> Option<()> {
        let Value { start, end } = self.lines.value(Header::Expires);
        let (n, number) = digits(self.source.word(start));
        require(n != 0 && n != 8 && start + n == end)?;
        self.message.headers |= header::EXPIRES;
        self.message.expires = number;
        Some(())
    }

    /// Finds the URI in brackets, after a name in quotes, words, or nothing.
    #[inline(always)]
    fn name_addr(&self, start: u32) -> Option<NameAddr> {
        let mut at = start;
        match byte(self.source.word(at), 0) {
            b'<' => {}
            b'"' => {
                at += 1 + self.first(start + 1, Class::Quote)?;
                let w = self.source.word(at);
                require(byte(w, 0) == b'"')?;
                at += if byte(w, 1) == b' ' { 2 } else { 1 };
            }
            b'*' => return None,
            _ => at += self.first(start, Class::NameEnd)?,
        }
        require(byte(self.source.word(at), 0) == b'<')?;
        self.uri(at + 1)
    }

    /// Reads a URI in brackets from `at`: perhaps a user, then a host and parameters or headers.
    #[inline(always)]
    fn uri(&self, at: u32) -> Option<NameAddr> {
        let uri = at + scheme(self.source.word(at));
        let mut stops = self.near(uri, Class::UriSeparator);
        if stops & stops.wrapping_sub(1) == 0 {
            stops |= self.source.find(uri + WIDE, Class::UriSeparator) << WIDE;
        }
        let mut host = uri;
        let mut end = uri + lowest(stops)?;
        let mut stop = byte(self.source.word(end), 0);
        if stop == b'@' {
            host = end + 1;
            end = uri + lowest(stops & stops.wrapping_sub(1))?;
            stop = byte(self.source.word(end), 0);
        }
        let mut bracket = end;
        if stop == b';' || stop == b'?' {
            // Another at-sign would make it part of the user.
            bracket += self.first(end, Class::UriEnd)?;
            stop = byte(self.source.word(bracket), 0);
        }
        require(end != uri && stop == b'>')?;
        Some(NameAddr {
            uri,
            host,
            end,
            bracket,
        })
    }

    /// Reads a token of letters, digits and `-./:_`, which ends at a semicolon or at `end`. Returns where.
    #[inline(always)]
    fn token(&self, start: u32, end: u32) -> Option<u32> {
        let len = end.wrapping_sub(start);
        let last = if len < LONG { 1 << len } else { 0 };
        let mut ends = self.near(start, Class::TokenEnd) | last;
        if ends & u64::from(u32::MAX) == 0 {
            ends |= self.source.find(start + WIDE, Class::TokenEnd) << WIDE;
        }
        let n = lowest(ends)?;
        let stop = start + n;
        require(n != 0 && (n == len || byte(self.source.word(stop), 0) == b';'))?;
        Some(stop)
    }

    /// Finds the bytes of a class as [`Source::find`] does. A kernel makes no call for it: most elements end here.
    #[inline(always)]
    fn near(&self, at: u32, class: Class) -> u64 {
        class.find(self.source.wide_word(at))
    }

    /// Returns the number of bytes before the first one of a class; less than [`LONG`].
    #[inline(always)]
    fn first(&self, at: u32, class: Class) -> Option<u32> {
        let mut found = self.source.find(at, class);
        if found == 0 {
            found = self.source.find(at + WIDE, class) << WIDE;
        }
        lowest(found)
    }

    #[inline(always)]
    fn set(&mut self, field: Field, start: u32, end: u32) {
        self.message.spans[field as usize] = Span::between(start, end);
    }
}

/// A URI in brackets.
struct NameAddr {
    /// Its start, after its scheme.
    uri: u32,
    /// The start of its host.
    host: u32,
    /// The end of its address.
    end: u32,
    /// The bracket after it.
    bracket: u32,
}

/// `None` if the condition is false.
#[inline(always)]
fn require(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// Returns the index of the lowest bit, if there is one.
#[inline(always)]
fn lowest(bits: u64) -> Option<u32> {
    require(bits != 0)?;
    Some(lowest_bit(bits))
}

/// Returns `n` ones, up to 64.
#[inline(always)]
const fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}
