//! The lines that the walk has found, each read in one step: `c=` with an IPv4 address, `m=` and most attributes.
//!
//! The functions are those of the machine, and so is the state: the machine goes on where a line is not usual.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::expect::Expect;
use super::state::Scan;
use super::walk::LINES;
use crate::bpf::Repeat;
use crate::bytes::swar::{head, literal};
use crate::bytes::{Reader, Source};

/// A scan whose lines the walk has found.
#[repr(transparent)]
#[derive(FromZeros, Immutable, KnownLayout)]
struct Usual(Scan);

impl Reader for Usual {
    const TWO_PER_CALL: bool = true;

    /// Reads a line, and goes to the next. False at the end, or at what the machine must read.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let scan = &mut self.0;
        let (at, _) = scan.position();
        if at >= scan.end {
            return scan.end_of_text(at, Expect::Line);
        }
        let name = head(source.word(at), 2);
        let value = source.word(at + 2);
        if name == literal(b"c=") {
            scan.connection(at, value);
            if scan.expect == Expect::Ipv4 {
                scan.ipv4(source, scan.at);
            }
        } else if name == literal(b"m=") {
            scan.media(source, at, value);
            if scan.expect == Expect::Port {
                scan.port(source, scan.at);
            }
            if scan.expect == Expect::Transport {
                scan.transport(source, scan.at);
            }
        } else if name == literal(b"a=") {
            scan.attribute(source, at, value);
        }
        // The machine reads a second description, an IPv6 address, and the port of RTCP.
        scan.expect == Expect::Rest && scan.next_line()
    }
}

impl Scan {
    /// Reads the lines that the walk has found, up to one that is not usual.
    #[inline(always)]
    pub(super) fn read_usual<S: Source + ?Sized, L: Repeat>(&mut self, source: &S) {
        // SAFETY: the same memory, as it is transparent.
        let usual = unsafe { &mut *(&raw mut *self).cast::<Usual>() };
        usual.read::<S, L>(source, LINES as u32 + 1);
    }
}
