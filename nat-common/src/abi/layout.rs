//! Description of the layout of the tables that an upgrade takes over. It lies in a map beside them.
//!
//! An agent of another version reads there which tables it can go on using, and where the fields of a binding lie. Fields and
//! flags are known by their names, so one whose meaning changes gets another name.

use bitflags::Flags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::value::Value;

/// Number of the rules by which entries are stored and found: hashes, keys, sets, tags, endpoints and ticks. Tables of other
/// rules cannot be taken over. `nat-common/tests/decisions/rules.rs` fails if they change and this number stays.
pub const RULES: u64 = 1;

/// Number of lines in `LAYOUT`.
pub const LAYOUT_LINES: u32 = 128;

/// Line of the description. This type never changes: every version reads it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LayoutLine {
    /// Name of a table, a field or a flag, filled up with zeros.
    pub name: [u8; 32],
    /// Digest of the table's layout; offset and size of the field; bit of the flag.
    pub number: u64,
}

/// Field of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, after that of the type and a dot.
    pub name: &'static str,
    /// Offset in the type, in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

impl Field {
    /// Returns offset and size in one number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        (self.offset as u64) << 32 | self.size as u64
    }

    /// Returns the offset and the size that a number holds.
    #[must_use]
    pub const fn place(number: u64) -> [usize; 2] {
        [(number >> 32) as usize, number as u32 as usize]
    }
}

/// Type whose fields are known by their names.
pub trait Described {
    /// All of its fields.
    const FIELDS: &'static [Field];
}

/// Describes a type by the list of its fields, which must be complete.
macro_rules! described {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::abi::layout::Described for $type {
            const FIELDS: &'static [$crate::abi::layout::Field] = &[$(
                $crate::abi::layout::Field {
                    name: concat!(stringify!($type), ".", stringify!($field)),
                    offset: core::mem::offset_of!($type, $field),
                    size: $crate::abi::layout::size_of_field(|value: &$type| &value.$field),
                },
            )+];
        }
        const _: () = assert!($crate::abi::layout::is_complete::<$type>());
    };
}
pub(super) use described;

pub(super) const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

pub(super) const fn is_complete<T: Described>() -> bool {
    let mut at = 0;
    let mut sum = 0;
    while at < T::FIELDS.len() {
        sum += T::FIELDS[at].size;
        at += 1;
    }
    sum == size_of::<T>()
}

/// Lists flags by their names.
pub fn named_flags<F: Flags<Bits = u16>>() -> impl Iterator<Item = (&'static str, u16)> {
    let named = F::FLAGS.iter().filter(|flag| flag.is_named());
    named.map(|flag| (flag.name(), flag.value().bits()))
}

/// Digest of a layout: what differs in a field or a flag has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Digest of nothing.
    pub const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Returns the digest with the fields of a type.
    #[must_use]
    pub fn fields<T: Described>(self) -> Self {
        let fields = T::FIELDS.iter();
        fields.fold(self, |digest, field| {
            digest.line(field.name, field.number())
        })
    }

    /// Returns the digest with a set of flags.
    #[must_use]
    pub fn flags<F: Flags<Bits = u16>>(self) -> Self {
        named_flags::<F>().fold(self, |digest, (name, bit)| digest.line(name, bit.into()))
    }

    /// Returns the digest of a table of sets.
    #[must_use]
    pub fn of_sets<V: Value + Described>() -> Self {
        Self::EMPTY.fields::<V>().flags::<V::Flags>()
    }

    /// Returns it as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// FNV-1a.
    fn line(self, name: &str, number: u64) -> Self {
        let bytes = name.bytes().chain(number.to_le_bytes());
        Self(bytes.fold(self.0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}
