//! The state machine: it reads a message of any form, in steps.
//!
//! Each step is straight-line code and its state lies in memory, so the verifier looks at one step only, whatever loop
//! repeats it (see [`Repeat`]).
//!
//! A function that reads something returns whether the machine goes on. Its arguments are the position `at` and, where
//! it needs only that, the word `w` there.

mod address;
mod expect;
mod host;
mod line;
mod numbers;
mod params;
mod start_line;
mod state;
mod value;
mod via;

pub(super) use state::Machine;

use self::expect::Expect;
use super::limit::{MAX_SCAN, budget};
use super::table::{Header, Needed};
use crate::bpf::Repeat;
use crate::bytes::{Reader, Source, words};
use crate::sip::doubt::Doubt;
use crate::sip::field::Field;
use crate::sip::header;

impl Reader for Machine {
    const TWO_PER_CALL: bool = true;

    /// Makes one step. It has three parts, in the order in which they often follow one another: the start of a line;
    /// the rest of a skipped line, or an element of a value; parameters. Each part runs if its element is expected.
    ///
    /// Fewer steps mean fewer mispredicted branches.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let (mut at, mut expect) = self.position();
        if at >= self.end {
            return self.end_of_text(expect);
        }
        if expect == Expect::Line {
            if !self.line(source, at) {
                return false;
            }
            (at, expect) = self.position();
        }
        if expect == Expect::Skip {
            return self.skip(source, at);
        }
        if expect != Expect::Params {
            if !self.element(source, at, expect) {
                return false;
            }
            (at, expect) = self.position();
            if expect != Expect::Params {
                return true;
            }
            if at >= self.end {
                return self.give_up(Doubt::Truncated);
            }
        }
        self.params(source, at)
    }
}

impl Machine {
    /// Reads a message from its first byte, and leaves the result in `message`. `walked`: rounds of the walk before.
    #[inline(always)]
    pub(super) fn run<S: Source + ?Sized, L: Repeat>(
        &mut self,
        source: &S,
        needed: Needed,
        walked: u32,
    ) -> Result<(), Doubt> {
        // The all-zero state is the one before the first byte.
        words::clear(self);
        self.needed = needed;
        self.end = if source.len() > MAX_SCAN {
            MAX_SCAN
        } else {
            self.whole = source.is_whole();
            source.len()
        };
        self.read::<S, L>(source, budget(self.end, walked));
        match self.doubt {
            // No step has ended the scan.
            0 if !self.done => Err(Doubt::Costly),
            0 => self.complete(),
            1 => Err(Doubt::Truncated),
            2 => Err(Doubt::Syntax),
            3 => Err(Doubt::Missing),
            _ => Err(Doubt::Duplicate),
        }
    }

    /// Checks that all mandatory parts were found.
    #[inline(always)]
    fn complete(&self) -> Result<(), Doubt> {
        let m = &self.message;
        let complete = m.headers & header::MANDATORY == header::MANDATORY
            && m.has(Field::CallId)
            // It alone proves that a terminal got the request that it answers.
            && (m.status == 0 || m.has(Field::Branch) || self.needed != Needed::In);
        if m.star != 0 && m.contacts != 1 {
            return Err(Doubt::Syntax);
        }
        if !complete {
            return Err(Doubt::Missing);
        }
        // A display name without a URI after it.
        let needs_from = self.ignored & Header::From.bit() == 0;
        if !m.has(Field::ToUri) || needs_from && !m.has(Field::FromUri) {
            return Err(Doubt::Syntax);
        }
        Ok(())
    }

    /// Ends the scan at the end of the text. Some devices send no empty line. A datagram that ends within a line is
    /// truncated.
    #[inline(always)]
    fn end_of_text(&mut self, expect: Expect) -> bool {
        self.done = expect == Expect::Line && self.whole;
        if self.done {
            return false;
        }
        self.give_up(Doubt::Truncated)
    }

    /// Second part of a step: reads one element of a value or of the start line.
    #[inline(always)]
    fn element<S: Source + ?Sized>(&mut self, source: &S, at: u32, expect: Expect) -> bool {
        let w = source.word(at);
        match expect {
            Expect::StartLine => self.start_line(source, at, w),
            Expect::RequestUri => self.request_uri(source, at, w),
            Expect::Colon => self.colon(at, w),
            Expect::Value => self.value(at, w),
            Expect::Via => self.via(source, at, w),
            Expect::Protocol => self.protocol(at, w),
            Expect::Address => self.address(source, at, w),
            Expect::Name => self.name(source, at, w),
            Expect::Quoted => self.quoted(source, at, w),
            Expect::AfterName => self.after_name(source, at, w),
            Expect::Uri => self.uri(source, at, w),
            Expect::Host => self.host(source, at, w),
            Expect::Ipv6 => self.ipv6(at, w),
            Expect::HostEnd => self.host_end(source, at),
            Expect::Param => self.param(at, w),
            Expect::Equals => self.equals(at, w),
            Expect::ParamValue => self.param_value(at, w),
            Expect::ParamToken => self.param_token(source, at, w),
            Expect::ParamEnd => self.param_end(at, w),
            Expect::CallId => self.call_id(source, at),
            Expect::Number => self.number(source, at, w),
            Expect::CseqMethod => self.cseq_method(source, at, w),
            Expect::Tail => self.tail(at, w),
            // The other parts of a step read these.
            Expect::Line | Expect::Skip | Expect::Params => true,
        }
    }
}
