//! Parameters of Via, From, To and Contact.

use super::expect::Expect;
use super::numbers::MALFORMED_EXPIRES;
use super::state::{Form, Machine};
use crate::bpf::sign;
use crate::bytes::swar::{below, blanks, brackets, byte, equal, run, starts_with, token_end};
use crate::bytes::{Source, Span};
use crate::sip::doubt::Doubt;
use crate::sip::field::{Field, MAX_CONTACTS};
use crate::sip::scan::grammar::{NARROW, find_narrow, is_address_end, is_blank};
use crate::sip::scan::table::Header;

impl Machine {
    /// Third part of a step: reads up to a separator of parameters. In a Via this also skips the sent-by.
    #[inline(always)]
    pub(super) fn params<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let semicolons = self.semicolons;
        // A bracket here may begin the address, and make a display name of the bytes before it.
        let n = find_narrow(source, at, w, |w| {
            below(w, b'#') | equal(w, b';') & semicolons | equal(w, b',') | brackets(w)
        });
        let at = at + n;
        if n == NARROW {
            return self.go(at, Expect::Params);
        }
        let w = source.word(at);
        self.resume = Expect::Params;
        match byte(w, 0) {
            b';' => self.param(at + 1, source.word(at + 1)),
            b',' => match self.header {
                Header::Via | Header::RecordRoute | Header::Contact => {
                    // Mostly a space follows, or none. Without a branch, which the verifier would follow.
                    let space = sign(i64::from(byte(w, 1) ^ b' ') - 1) as u32;
                    if byte(w, 1 + space) > b' ' {
                        return self.begin_value(at + 1 + space);
                    }
                    self.go(at + 1 + space, Expect::Value)
                }
                // A comma in a display name. The URI must follow.
                Header::From | Header::To if self.form == Form::Name => {
                    self.set_span(self.uri_field() as usize, Span::default());
                    self.go(at + 1, Expect::Params)
                }
                _ => self.give_up(Doubt::Syntax),
            },
            b'"' => self.go(at + 1, Expect::Quoted),
            b'\r' | b'\n' => self.tail(at, w),
            b' ' | b'\t' => self.go(at + blanks(w), Expect::Params),
            b'!' => self.go(at + run(w, b'!'), Expect::Params),
            b @ (b'<' | b'>') => self.bracket(source, at, b),
            _ => self.spoil(at),
        }
    }

    /// Reads the angle bracket `b` among parameters.
    #[inline(always)]
    fn bracket<S: Source + ?Sized>(&mut self, source: &S, at: u32, b: u8) -> bool {
        let begins = b == b'<' && self.form == Form::Name;
        match self.header {
            // If a tag came before it, there are two of it, or a parser finds the first one only.
            Header::From | Header::To if begins && !self.has_tag() => {
                self.begin_uri(source, at + 1)
            }
            Header::Contact if begins => self.begin_uri(source, at + 1),
            Header::Contact => {
                // Devices write `+sip.instance=<urn:...>`. Any other bracket could begin the address.
                let in_value = b == b'>' || byte(source.word(at - 1), 0) == b'=';
                if self.form != Form::Bracketed || !in_value {
                    self.drop_contact();
                }
                self.go(at + 1, Expect::Params)
            }
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// Whether the tag of this From or To was read.
    #[inline(always)]
    fn has_tag(&self) -> bool {
        self.message.has(match self.header {
            Header::From => Field::FromTag,
            _ => Field::ToTag,
        })
    }

    /// Reads the name of a parameter. It skips a parameter that does not matter.
    #[inline(always)]
    pub(super) fn param(&mut self, at: u32, w: u64) -> bool {
        let n = match self.header {
            _ if is_blank(byte(w, 0)) => return self.go(at + blanks(w), Expect::Param),
            _ if byte(w, 0) < 0x21 => {
                self.resume = Expect::Param;
                return self.go(at, Expect::Tail);
            }
            Header::Via if starts_with(w, b"branch") => 6,
            Header::From | Header::To if starts_with(w, b"tag") => 3,
            Header::Contact if self.kept && starts_with(w, b"expires") => 7,
            _ => return self.go(at, Expect::Params),
        };
        match byte(w, n) {
            b'=' if n < 7 && byte(w, n + 1) > b' ' => {
                self.token_start = at + n + 1;
                self.go(self.token_start, Expect::ParamToken)
            }
            b'=' => self.go(at + n + 1, Expect::ParamValue),
            b' ' | b'\t' | b'\r' | b'\n' => self.go(at + n, Expect::Equals),
            _ => self.go(at, Expect::Params),
        }
    }

    /// Reads `EQUAL` (RFC 3261 25.1), which may have white space around it.
    #[inline(always)]
    pub(super) fn equals(&mut self, at: u32, w: u64) -> bool {
        let n = blanks(w);
        let at = at + n;
        match byte(w, n) {
            b'=' => self.go(at + 1, Expect::ParamValue),
            // There are eight.
            b' ' | b'\t' => self.go(at, Expect::Equals),
            // The parameter has no value but must have one. A folded `=` is legal, but no device sends it.
            _ if self.header == Header::Contact => self.go(at, Expect::Params),
            _ => self.give_up(Doubt::Syntax),
        }
    }

    /// Reads the start of a parameter's value.
    #[inline(always)]
    pub(super) fn param_value(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + blanks(w), Expect::ParamValue);
        }
        if self.header == Header::Contact {
            let index = usize::from(self.message.contacts.wrapping_sub(1));
            let twice = self.message.contact_expires(index).is_some();
            self.set_contact_expires(MALFORMED_EXPIRES);
            if twice && index < MAX_CONTACTS {
                return self.go(at, Expect::Params);
            }
            self.count = 0;
            self.number = 0;
            return self.go(at, Expect::Number);
        }
        self.token_start = at;
        self.go(at, Expect::ParamToken)
    }

    /// Reads the rest of a tag or a branch.
    #[inline(always)]
    pub(super) fn param_token<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = find_narrow(source, at, w, token_end);
        let at = at + n;
        if n == NARROW {
            return self.go(at, Expect::ParamToken);
        }
        let w = source.word(at);
        let begin = self.token_start;
        // Quotes around the whole belong to it: the PBX repeats them.
        let quoted = byte(source.word(begin), 0) == b'"';
        let field = match self.header {
            Header::From => Field::FromTag,
            Header::To => Field::ToTag,
            _ => Field::Branch,
        };
        if self.message.has(field) || self.kept {
            return self.give_up(Doubt::Duplicate);
        }
        let (at, w) = match byte(w, 0) {
            b'!' => return self.go(at + run(w, b'!'), Expect::ParamToken),
            b'"' if at == begin => return self.go(at + 1, Expect::ParamToken),
            b'"' if quoted && at > begin + 1 && is_address_end(byte(w, 1)) => (at + 1, w >> 8),
            b if !quoted && at > begin && is_address_end(b) => (at, w),
            // Devices of RFC 2543 send an empty branch, or none.
            b if at == begin && is_address_end(b) && self.header == Header::Via => {
                self.kept = true;
                return self.param_end(at, w);
            }
            _ => return self.give_up(Doubt::Syntax),
        };
        self.set_span(field as usize, Span::between(begin, at));
        self.param_end(at, w)
    }

    /// Reads on after a parameter that matters: another parameter, another value or the line end must follow.
    #[inline(always)]
    pub(super) fn param_end(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + blanks(w), Expect::ParamEnd);
        }
        if b == b';' || b == b',' {
            return self.go(at, Expect::Params);
        }
        self.resume = Expect::ParamEnd;
        self.go(at, Expect::Tail)
    }
}
