//! Addresses of From, To, Contact and Record-Route: `name-addr` and `addr-spec` (RFC 3261 25.1).

use super::expect::Expect;
use super::state::{Form, Machine};
use crate::bpf::bounded;
use crate::bytes::swar::{below, blanks, brackets, byte, equal, first, run};
use crate::bytes::{Source, Span, words};
use crate::sip::doubt::Doubt;
use crate::sip::field::{Field, MAX_CONTACTS, READ_CONTACTS};
use crate::sip::scan::grammar::{LineEnd, NARROW, find_narrow, is_address_end, line_end, scheme};
use crate::sip::scan::table::{Header, Needed};

/// Value of `token_start` while no URI has begun: beyond every end.
const NO_URI: u32 = u32::MAX;

impl Machine {
    /// Reads the start of an address.
    #[inline(always)]
    pub(super) fn address<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let m = &mut self.message;
        if self.header == Header::RecordRoute {
            m.record_routes = m.record_routes.saturating_add(1);
            self.semicolons = 0;
        }
        self.form = Form::Name;
        match byte(w, 0) {
            b'<' => self.begin_uri(source, at + 1),
            b'"' => self.begin_quoted_name(at),
            b'*' if self.header == Header::Contact && is_address_end(byte(w, 1)) => {
                m.star = 1;
                m.contacts = m.contacts.saturating_add(1);
                self.go(at + 1, Expect::Tail)
            }
            _ => {
                // A scheme ends in a colon; white space and separators end a word of a display name.
                let separators = below(w, b'+') | equal(w, b',') | equal(w, b';') | brackets(w);
                if first(equal(w, b':')) < first(separators) {
                    self.form = Form::Bare;
                }
                self.token_start = at + scheme(w);
                self.go(self.token_start, Expect::Name)
            }
        }
    }

    /// Begins a quoted display name. A URI must follow it.
    #[inline(always)]
    fn begin_quoted_name(&mut self, at: u32) -> bool {
        self.token_start = NO_URI;
        self.resume = Expect::Name;
        self.go(at + 1, Expect::Quoted)
    }

    /// Reads a display name or an address without brackets. Only its end shows which of the two it is.
    #[inline(always)]
    pub(super) fn name<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        // White space, line ends, the quote and '!' are below '#'. An address with a '?' must be in brackets
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
            return self.go(at, Expect::Name);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b' ' if byte(w, 1) == b'<' => self.begin_uri(source, at + 2),
            b'<' => self.begin_uri(source, at + 1),
            b'"' => self.begin_quoted_name(at),
            b'@' => {
                self.host_start = at + 1;
                self.go(at + 1, Expect::Name)
            }
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b',' => {
                self.address_end = at;
                self.go(at, Expect::AfterName)
            }
            b'!' => self.go(at + run(w, b'!'), Expect::Name),
            b => {
                self.token_start = NO_URI;
                if b == b'?' || b == b'>' && self.header == Header::Contact {
                    return self.go(at + 1, Expect::Name);
                }
                self.spoil(at)
            }
        }
    }

    /// Reads on after a token of a display name, or after an address without brackets, which ended at `address_end`.
    #[inline(always)]
    pub(super) fn after_name<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        match byte(w, 0) {
            b' ' | b'\t' => self.go(at + blanks(w), Expect::AfterName),
            b'<' => self.begin_uri(source, at + 1),
            b';' | b',' => self.end_uri(self.address_end, at),
            b'\r' | b'\n' => match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, Expect::AfterName),
                LineEnd::Last(_) => self.end_uri(self.address_end, at),
                LineEnd::Bad => self.spoil(at),
            },
            _ => {
                self.token_start = NO_URI;
                self.go(at, Expect::Name)
            }
        }
    }

    /// Begins a URI in brackets.
    #[inline(always)]
    pub(super) fn begin_uri<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        self.form = Form::Bracketed;
        self.token_start = at + scheme(source.word(at));
        self.host_start = 0;
        self.address_end = 0;
        self.go(self.token_start, Expect::Uri)
    }

    /// Reads a URI in brackets.
    #[inline(always)]
    pub(super) fn uri<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let semicolons = self.semicolons;
        let n = find_narrow(source, at, w, |w| {
            // `>` and `?` differ in one bit.
            below(w, 0x21)
                | equal(w, b'@')
                | equal(w, b';') & semicolons
                | equal(w | 0x0101_0101_0101_0101, b'?')
        });
        let at = at + n;
        if n == NARROW {
            return self.go(at, Expect::Uri);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'@' => {
                // A ';' or '?' before it was part of the user (RFC 3261 25.1, user-unreserved).
                self.host_start = at + 1;
                self.address_end = 0;
                self.go(at + 1, Expect::Uri)
            }
            b';' | b'?' => {
                if self.address_end == 0 {
                    self.address_end = at;
                }
                self.go(at + 1, Expect::Uri)
            }
            b'>' if is_address_end(byte(w, 1)) || self.header == Header::Contact => {
                self.end_uri(at, at + 1)
            }
            b'\r' | b'\n' => self.spoil(at),
            _ if self.header == Header::Contact => {
                self.token_start = NO_URI;
                self.go(at + 1, Expect::Uri)
            }
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// Notes the URI that ended at `end`. The scan continues at `next`.
    #[inline(always)]
    fn end_uri(&mut self, end: u32, next: u32) -> bool {
        let is_uri = self.token_start < end;
        if self.host_start != 0 && self.form == Form::Name {
            self.form = Form::Bare;
        }
        let address_end = if self.address_end == 0 {
            end
        } else {
            self.address_end
        };
        match self.header {
            Header::From | Header::To if is_uri => self.set_span(
                self.uri_field() as usize,
                Span::between(self.token_start, address_end),
            ),
            // So far a display name.
            Header::From | Header::To if self.form == Form::Name => {}
            Header::Contact => {
                if !is_uri || self.form == Form::Name {
                    return self.go(next, Expect::Params);
                }
                self.kept = true;
                self.message.contacts = self.message.contacts.saturating_add(1);
                let index = usize::from(self.message.contacts.wrapping_sub(1));
                if index < MAX_CONTACTS {
                    self.set_span(
                        Field::Contact as usize + index,
                        Span::between(self.token_start, end),
                    );
                }
                let before = self.message.contact_expires(index.wrapping_sub(1));
                if before == Some(0) && usize::from(self.message.first_contact) + 1 == index {
                    self.message.first_contact = index as u8;
                    words::clear(&mut self.message.advertised);
                }
                let is_first = index == usize::from(self.message.first_contact);
                if is_first || index < READ_CONTACTS && self.needed != Needed::Out {
                    self.forget_host(index);
                    self.after_host = next;
                    let host = if self.host_start == 0 {
                        self.token_start
                    } else {
                        self.host_start
                    };
                    return self.go(host, Expect::Host);
                }
            }
            _ if !is_uri => return self.give_up(Doubt::Syntax),
            _ => {}
        }
        self.go(next, Expect::Params)
    }

    /// Returns the field of the URI of this From or To.
    #[inline(always)]
    pub(super) fn uri_field(&self) -> Field {
        match self.header {
            Header::From => Field::FromUri,
            _ => Field::ToUri,
        }
    }

    /// Drops the Contact being read: it can be read in two ways.
    #[inline(always)]
    pub(super) fn drop_contact(&mut self) {
        if !self.kept {
            return;
        }
        self.kept = false;
        self.message.contacts = self.message.contacts.saturating_sub(1);
        let index = usize::from(self.message.contacts);
        if index >= MAX_CONTACTS {
            return;
        }
        self.set_span(Field::Contact as usize + index, Span::default());
        let index = bounded::<MAX_CONTACTS>(index);
        // SAFETY: the index is in bounds.
        unsafe { *self.message.contact_expires.get_unchecked_mut(index) = 0 };
        if index == usize::from(self.message.first_contact) {
            // The host of the next one is read.
            words::clear(&mut self.message.advertised);
        }
    }

    /// Forgets the host that was read before that of the Contact at `index`.
    #[inline(always)]
    fn forget_host(&mut self, index: usize) {
        self.host_groups.clear();
        if index < READ_CONTACTS {
            let index = bounded::<READ_CONTACTS>(index);
            // SAFETY: the index is in bounds.
            words::clear(unsafe { self.addresses.get_unchecked_mut(index) });
        }
    }
}
