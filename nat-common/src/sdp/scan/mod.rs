//! The scanner of session descriptions: the headers that describe the body, then the body, mostly one line a step.
//!
//! It is a state machine as that of SIP is: each step is straight-line code, and its state lies in memory. A function that
//! reads something returns whether the scan goes on. A step tries the elements in the order in which a line has them, so most
//! lines take one step: each costs a call of the kernel's helper.
//!
//! Of a body as most devices write it, a [walk](walk) finds the lines that matter, and [one step](usual) reads each of them. The
//! machine goes on where one is not usual.

mod address;
mod body;
mod expect;
mod headers;
mod lines;
mod state;
mod usual;
mod walk;

pub use state::Scan;

use core::cmp::max;

use self::expect::{Expect, Section};
use super::description::{LineFlags, MAX_LINES};
use super::none::NoDescription;
use crate::bpf::Repeat;
use crate::bytes::swar::{byte, equal, first, lowest_bit};
use crate::bytes::{BLOCK, Reader, Source};
use crate::sip::{Content, MAX_SCAN, steps};

/// Reads each of these elements that is expected at the position.
macro_rules! read {
    ($scan:ident, $source:ident, $at:ident, $expect:ident: $($element:ident = $function:ident),*) => {
        $(
            if $expect == Expect::$element {
                if !$scan.$function($source, $at) {
                    return false;
                }
                ($at, $expect) = $scan.position();
            }
        )*
    };
}

impl Reader for Scan {
    const TWO_PER_CALL: bool = true;

    /// Makes one step: the start of a line and, if nothing in it is unusual, its rest; or an element of a value.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let (mut at, mut expect) = self.position();
        if at >= self.end {
            return self.end_of_text(at, expect);
        }
        if expect == Expect::Line {
            let more = match self.section {
                Section::Headers => self.header(source, at),
                Section::Before => self.before(source, at),
                Section::Description => self.line(source, at),
                Section::After => self.after(source, at),
            };
            if !more {
                return false;
            }
            (at, expect) = self.position();
        }
        // An address ends in a dotted quad, or is one.
        read!(self, source, at, expect: Start = start, Colon = colon, Value = value);
        read!(self, source, at, expect: Port = port, Transport = transport, RtcpPort = rtcp_port);
        read!(self, source, at, expect: Ipv6 = ipv6, Ipv4 = ipv4);
        if expect == Expect::Rest {
            return self.rest(source, at);
        }
        true
    }
}

impl Scan {
    /// Scans a message and leaves the result in `description`. It reads no headers if a scan of SIP has found the body. The walk
    /// loops by `W`, the machine by `L`.
    ///
    /// # Errors
    /// [`NoDescription`] if there is none, or if it can be read in two ways.
    #[inline(always)]
    pub fn run<S: Source + ?Sized, W: Repeat, L: Repeat>(
        &mut self,
        source: &S,
        content: &Content,
    ) -> Result<(), NoDescription> {
        self.clear();
        self.block = 0_u32.wrapping_sub(BLOCK);
        self.whole = source.is_whole() && source.len() <= MAX_SCAN;
        self.end = source.len().min(MAX_SCAN);
        if content.body == 0 {
            self.read::<S, L>(source, steps(self.end));
        } else if self.begin_at(source, content) {
            if self.is_walkable(source) && self.lines.walk::<S, W>(source, self.at + 3, self.end) {
                self.section = Section::Description;
                self.next_line();
                self.read_usual::<S, W>(source);
            }
            if !self.is_over() {
                self.read::<S, L>(source, steps(self.end));
            }
        }
        match self.why {
            0 if self.done => {
                self.complete();
                Ok(())
            }
            // No step has ended the scan.
            0 => Err(NoDescription::Costly),
            1 => Err(NoDescription::Absent),
            2 => Err(NoDescription::OtherType),
            3 => Err(NoDescription::Encoded),
            4 => Err(NoDescription::Truncated),
            5 => Err(NoDescription::Syntax),
            _ => Err(NoDescription::Duplicate),
        }
    }

    /// Whether the description has ended, or there is none.
    #[inline(always)]
    fn is_over(&self) -> bool {
        // SAFETY: valid references. Volatile, as the state of a round is.
        unsafe {
            (&raw const self.done).read_volatile() || (&raw const self.why).read_volatile() != 0
        }
    }

    /// Goes to the next line that matters, as the walk has found it, or to the end.
    #[inline(always)]
    fn next_line(&mut self) -> bool {
        let at = self.lines.take().unwrap_or(self.end);
        self.go(at, Expect::Line)
    }

    /// Reads the rest of a line, up to 64 bytes of it.
    #[inline(always)]
    fn rest<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        if self.lines.is_done() {
            return self.next_line();
        }
        let (block, controls) = self.block();
        let offset = at.wrapping_sub(block);
        let (mut start, mut controls) = if offset < BLOCK {
            (at, controls >> offset)
        } else {
            (at, 0)
        };
        if controls == 0 {
            start = max(at, block.wrapping_add(BLOCK));
            controls = source.controls(start);
            self.block = start;
            self.controls = controls;
            if controls == 0 {
                return self.go(start + BLOCK, Expect::Rest);
            }
        }
        let at = start + lowest_bit(controls);
        if at >= self.end {
            return self.end_of_text(at, Expect::Rest);
        }
        let w = source.word(at);
        match (byte(w, 0), byte(w, 1)) {
            (b'\n', _) => self.go(at + 1, Expect::Line),
            (b'\r', b'\n') => self.go(at + 2, Expect::Line),
            // Some parsers take them for the end of the line or of the text, others do not.
            (b'\r' | 0, _) => self.refuse(NoDescription::Syntax),
            _ => self.go(
                at + first(equal(w, b'\n') | equal(w, b'\r') | equal(w, 0)),
                Expect::Rest,
            ),
        }
    }

    /// Ends the scan at the end of the body. A line must not cross that, but the last one may lack its line end.
    #[inline(always)]
    fn end_of_text(&mut self, at: u32, expect: Expect) -> bool {
        if matches!(self.section, Section::Headers | Section::Before) {
            return self.refuse(NoDescription::Absent);
        }
        if !self.whole && self.last {
            self.description.cut = true;
            // Its last line may be cut off.
            self.level_flags(|flags| flags | LineFlags::UNREADABLE.bits());
        } else if at > self.end && expect == Expect::Line || expect != Expect::Line && !self.last {
            return self.refuse(NoDescription::Truncated);
        }
        self.done = true;
        false
    }

    /// Fills in the description.
    #[inline(always)]
    fn complete(&mut self) {
        self.complete_line::<0>();
        self.complete_line::<1>();
        self.complete_line::<2>();
        self.complete_line::<3>();
    }

    /// Fills in an `m=` line, with what it takes from the session.
    #[inline(always)]
    fn complete_line<const INDEX: usize>(&mut self) {
        const {
            assert!(INDEX < MAX_LINES);
        }
        const DIRECTIONS: u16 = LineFlags::NO_SEND.union(LineFlags::NO_RECEIVE).bits();
        if INDEX >= usize::from(self.description.count) {
            return;
        }
        let (session, level) = (&self.levels[0], &self.levels[INDEX + 1]);
        let line = &mut self.description.lines[INDEX];
        let mut flags = level.flags | session.flags & LineFlags::ICE.bits();
        let address = if level.has_address {
            level
        } else {
            flags |= session.flags & LineFlags::UNREADABLE.bits();
            session
        };
        if !level.has_direction {
            flags |= session.flags & DIRECTIONS;
        }
        line.addr[0] = address.addr[0];
        line.addr[1] = address.addr[1];
        let named = level.rtcp_addr[0] | level.rtcp_addr[1] != 0;
        if named && (level.rtcp_addr[0] != line.addr[0] || level.rtcp_addr[1] != line.addr[1]) {
            flags |= LineFlags::RTCP_ELSEWHERE.bits();
        }
        line.port = level.port;
        line.rtcp = match (level.has_rtcp, level.port) {
            (true, _) => level.rtcp,
            (false, 0) => 0,
            (false, port) => port.wrapping_add(1),
        };
        line.kind = level.kind;
        line.transport = level.transport;
        line.flags = LineFlags::from_bits_retain(flags);
    }
}

const _: () = assert!(MAX_LINES == 4, "`complete` names each");
