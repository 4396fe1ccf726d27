//! The scanner has a fast path and a slow path, with the same result.
//!
//! - Most messages are written as most devices write them. A [walk](walk) over the lines notes where the wanted headers
//!   lie, and [straight-line code](usual) reads each of them.
//! - Whatever is unusual, or in doubt, goes to a [state machine](machine) that reads the message from its first byte.
//!
//! The machine defines what a message means. The fast path reads what it is sure of, or nothing.

mod grammar;
mod host;
mod limit;
mod machine;
mod methods;
mod table;
mod usual;
mod walk;

use zerocopy::{FromZeros, Immutable, KnownLayout};

pub use self::limit::MAX_SCAN;
pub(crate) use self::limit::{rounds, steps};
pub use self::walk::Content;

use self::machine::Machine;
use self::walk::Lines;
use super::direction::Direction;
use super::doubt::Doubt;
use super::field::READ_CONTACTS;
use super::message::Message;
use crate::bpf::{Repeat, bounded};
use crate::bytes::{Source, words};
use crate::endpoint::Endpoint;

/// Memory of a scan. The all-zero value is one before a scan.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Scan {
    lines: Lines,
    machine: Machine,
}

impl Scan {
    /// Scans a message and leaves the result in [`Self::message`].
    ///
    /// With a `direction`, the scanner only checks the presence of headers that are not needed in that direction. With
    /// `None` it reads all.
    ///
    /// # Errors
    /// A [`Doubt`] if the message should be left alone.
    #[inline(always)]
    pub fn run<S: Source + ?Sized, L: Repeat>(
        &mut self,
        source: &S,
        direction: Option<Direction>,
    ) -> Result<(), Doubt> {
        self.walk::<S, L>(source);
        if self.read_usual(source, direction) {
            return Ok(());
        }
        self.read_any::<S, L>(source, direction)
    }

    /// Walks over the lines of a message, up to one that is not usual.
    #[inline(always)]
    pub fn walk<S: Source + ?Sized, L: Repeat>(&mut self, source: &S) {
        self.lines.walk::<S, L>(source);
    }

    /// Reads the headers that the walk has found. False if it did not come to the body, or one of them is unusual.
    #[inline(always)]
    pub fn read_usual<S: Source + ?Sized>(
        &mut self,
        source: &S,
        direction: Option<Direction>,
    ) -> bool {
        let message = &mut self.machine.message;
        words::clear(message);
        usual::read(source, &self.lines, direction.into(), message)
    }

    /// Reads a message of any form by the machine.
    ///
    /// # Errors
    /// A [`Doubt`] if the message should be left alone.
    #[inline(always)]
    pub fn read_any<S: Source + ?Sized, L: Repeat>(
        &mut self,
        source: &S,
        direction: Option<Direction>,
    ) -> Result<(), Doubt> {
        let walked = self.lines.walked(source.len());
        self.machine.run::<S, L>(source, direction.into(), walked)
    }

    /// Body of the message, if the walk came to it and knows all headers that describe it.
    #[inline(always)]
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.lines.content
    }

    /// Result of the scan.
    #[inline(always)]
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.machine.message
    }

    /// Returns host and port of one of the first Contacts, where the host is an IP address. Only of a message with several
    /// Contacts that arrived.
    #[inline(always)]
    #[must_use]
    pub fn contact_address(&self, index: usize) -> &Endpoint {
        // SAFETY: the index is in bounds.
        unsafe {
            let addresses = &self.machine.addresses;
            addresses.get_unchecked(bounded::<READ_CONTACTS>(index))
        }
    }
}
