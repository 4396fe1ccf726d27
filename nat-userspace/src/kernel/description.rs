//! The description of the tables in `LAYOUT`, and what follows from that of another version.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::abi::{
    Binding, BindingFlags, BindingSet, Config, Described, DialogKey, Digest, Field, LayoutLine,
    MediaBits, MediaConfig, MediaFlags, MediaPrefix, MediaSlot, RULES, map, named_flags,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::kernel::tables::digests_of_sets;

/// Name of the number of the rules.
const RULES_NAME: &str = "RULES";

/// Tables of media, whose entries depend on each other.
pub(super) const MEDIA: [&str; 3] = [map::MEDIA, map::MEDIA_BITS, map::MEDIA_CONFIG];

/// Lines of `LAYOUT`, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description(BTreeMap<String, u64>);

impl Description {
    /// Describes the tables of this version.
    pub(super) fn own() -> Self {
        let mut lines = BTreeMap::new();
        let mut add = |name: &str, number| {
            let twice = lines.insert(name.to_owned(), number);
            assert_eq!(twice, None, "{name}");
        };
        add(RULES_NAME, RULES);
        for (name, digest) in digests_of_sets() {
            add(name, digest.number());
        }
        let media = Digest::EMPTY
            .fields::<MediaSlot>()
            .fields::<DialogKey>()
            .fields::<MediaBits>()
            .fields::<MediaConfig>()
            .fields::<MediaPrefix>()
            .flags::<MediaFlags>();
        add(map::MEDIA, media.number());
        let fields = [BindingSet::FIELDS, Binding::FIELDS, Config::FIELDS];
        for field in fields.into_iter().flatten() {
            add(field.name, field.number());
        }
        for (name, bit) in named_flags::<BindingFlags>() {
            add(&flag(name), bit.into());
        }
        Self(lines)
    }

    /// Reads the description of other tables.
    pub(super) fn read(map: &Array<MapData, LayoutLine>) -> Result<Self> {
        let lines = map.iter().map(|line| {
            let line = line.with_context(|| format!("cannot read {}", map::LAYOUT))?;
            let name: Vec<u8> = line
                .name
                .into_iter()
                .take_while(|byte| *byte != 0)
                .collect();
            Ok((String::from_utf8_lossy(&name).into_owned(), line.number))
        });
        let lines: Result<BTreeMap<_, _>> = lines.collect();
        let mut lines = lines?;
        lines.remove("");
        Ok(Self(lines))
    }

    /// Writes it.
    pub(super) fn write(&self, map: &mut Array<MapData, LayoutLine>) -> Result<()> {
        for (index, (name, number)) in (0..).zip(&self.0) {
            let mut line = LayoutLine {
                number: *number,
                ..LayoutLine::default()
            };
            // The last byte stays 0.
            let len = name.len().min(line.name.len() - 1);
            line.name[..len].copy_from_slice(&name.as_bytes()[..len]);
            map.set(index, line, 0)
                .with_context(|| format!("cannot write {}", map::LAYOUT))?;
        }
        Ok(())
    }

    /// Whether a table of that description is one of this version.
    pub(super) fn has_same(&self, own: &Self, table: &str) -> bool {
        self.0.contains_key(table) && self.0.get(table) == own.0.get(table)
    }

    /// Returns how the rules differ, if they do.
    pub(super) fn other_rules(&self) -> Option<String> {
        let rules = self.0.get(RULES_NAME).copied();
        (rules != Some(RULES)).then(|| {
            let is = rules.map_or_else(|| "unknown".into(), |rules| rules.to_string());
            format!("{RULES_NAME}: their number is {is}, must be {RULES}")
        })
    }

    fn place(&self, name: &str) -> Option<[usize; 2]> {
        self.0.get(name).map(|number| Field::place(*number))
    }

    /// Lists fields and flags of a type that this version does not know.
    fn unknown(&self, own: &Self, types: &[&str]) -> Vec<String> {
        let of_types = |name: &&String| {
            let of = name.split('.').next().unwrap_or_default();
            name.contains('.') && types.contains(&of)
        };
        let unknown = self.0.keys().filter(|name| !own.0.contains_key(*name));
        unknown.filter(of_types).cloned().collect()
    }
}

fn flag(name: &str) -> String {
    format!("BindingFlags.{name}")
}

/// Moves of bytes that make a value of this version of an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Moves(Vec<Move>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    from: usize,
    to: usize,
    len: usize,
}

impl Moves {
    /// Finds the fields of `T` in an earlier value of `size` bytes. A field that `may_lack` is zero where it is missing, or
    /// has another size. Each other one that differs is put into `differences`.
    fn of<T: Described>(
        earlier: &Description,
        size: usize,
        may_lack: impl Fn(&str) -> bool,
        differences: &mut Vec<String>,
    ) -> Self {
        let mut moves = Vec::new();
        for field in T::FIELDS {
            let found = earlier.place(field.name);
            let fits = found.filter(|[offset, len]| {
                *len == field.size && offset.checked_add(*len).is_some_and(|end| end <= size)
            });
            match fits {
                Some([from, len]) => moves.push(Move {
                    from,
                    to: field.offset,
                    len,
                }),
                None if may_lack(field.name) => {}
                None => differences.push(match found {
                    None => format!("{}: missing in the earlier layout", field.name),
                    Some([offset, len]) => format!(
                        "{}: {len} bytes at {offset} of {size}, must be {} bytes",
                        field.name, field.size
                    ),
                }),
            }
        }
        Self(moves)
    }

    /// Makes the value.
    fn apply<T: FromBytes + IntoBytes>(&self, from: &[u8], to: &mut T) {
        to.zero();
        let bytes = to.as_mut_bytes();
        for Move { from: at, to, len } in &self.0 {
            bytes[*to..*to + *len].copy_from_slice(&from[*at..*at + *len]);
        }
    }
}

/// Reads the settings that an earlier version has written, as far as this version knows them.
pub(super) fn config(earlier: &Description, bytes: &[u8], differences: &mut Vec<String>) -> Config {
    let may_lack = |name: &str| name != "Config.secret";
    let moves = Moves::of::<Config>(earlier, bytes.len(), may_lack, differences);
    let mut config = Config::default();
    moves.apply(bytes, &mut config);
    config
}

/// Layout of a table of bindings of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfBindings {
    /// Offset of the tags in a set.
    pub(super) tags: usize,
    /// Offset of the bindings in a set.
    pub(super) bindings: usize,
    /// Number of bindings in a set.
    pub(super) ways: usize,
    /// Size of a binding.
    pub(super) size: usize,
    moves: Moves,
    /// Bits of flags: the earlier one, and that of this version.
    flags: Vec<(u16, u16)>,
    /// Fields and flags that this version does not know.
    pub(super) unknown: Vec<String>,
}

impl OfBindings {
    /// Fields that an earlier layout must have. Each other one is 0 where it is missing, which says that nothing is known.
    const NEEDED: [&str; 13] = [
        "Binding.key",
        "Binding.created",
        "Binding.seen",
        "Binding.expires",
        "Binding.contested",
        "Binding.aor",
        "Binding.call",
        "Binding.arrived",
        "Binding.learned",
        "Binding.advertised",
        "Binding.flags",
        "Binding.text_len",
        "Binding.text",
    ];

    /// Finds the bindings in a set of `size` bytes. Each difference that cannot be converted is put into `differences`.
    pub(super) fn of(
        earlier: &Description,
        own: &Description,
        size: usize,
        differences: &mut Vec<String>,
    ) -> Option<Self> {
        let known = differences.len();
        let [tags, bindings] = ["BindingSet.tags", "BindingSet.bindings"].map(|name| {
            let place = earlier.place(name);
            let fits = place.filter(|[at, len]| {
                let end = at.checked_add(*len);
                at % 8 == 0 && len % 8 == 0 && end.is_some_and(|end| end <= size)
            });
            if fits.is_none() {
                differences.push(format!("{name}: not in a set of {size} bytes"));
            }
            fits
        });
        let ([tags, of_tags], [bindings, of_bindings]) = (tags?, bindings?);
        let ways = of_tags / 8;
        let each = of_bindings.checked_div(ways).unwrap_or_default();
        if each == 0 || each % 8 != 0 || each * ways != of_bindings {
            differences.push(format!(
                "BindingSet: {ways} tags and {of_bindings} bytes of bindings do not fit together"
            ));
            return None;
        }
        let may_lack = |name: &str| !Self::NEEDED.contains(&name);
        let moves = Moves::of::<Binding>(earlier, each, may_lack, differences);
        let bits = named_flags::<BindingFlags>();
        let flags = bits.filter_map(|(name, bit)| {
            let earlier = u16::try_from(*earlier.0.get(&flag(name))?).ok()?;
            Some((earlier, bit))
        });
        let found = Self {
            tags,
            bindings,
            ways,
            size: each,
            moves,
            flags: flags.collect(),
            unknown: earlier.unknown(own, &["Binding", "BindingFlags"]),
        };
        (differences.len() == known).then_some(found)
    }

    /// Whether it is the layout of this version.
    pub(super) fn is_own(&self, own: &Description) -> bool {
        let size = size_of::<BindingSet>();
        Self::of(own, own, size, &mut Vec::new()).as_ref() == Some(self)
    }

    /// Makes a binding of this version.
    pub(super) fn convert(&self, from: &[u8], to: &mut Binding) {
        self.moves.apply(from, to);
        let mut flags = BindingFlags::empty();
        for (earlier, bit) in &self.flags {
            if to.flags.bits() & earlier != 0 {
                flags |= BindingFlags::from_bits_retain(*bit);
            }
        }
        to.flags = flags;
    }
}

#[cfg(test)]
mod tests {
    use nat_common::{abi::LAYOUT_LINES, endpoint::Endpoint};

    use super::*;

    /// Description of this version with some lines changed.
    fn with(changes: &[(&str, Option<u64>)]) -> Description {
        let mut lines = Description::own().0;
        for (name, number) in changes {
            match number {
                Some(number) => _ = lines.insert((*name).to_owned(), *number),
                None => assert!(lines.remove(*name).is_some(), "{name}"),
            }
        }
        Description(lines)
    }

    fn at(offset: u64, size: u64) -> Option<u64> {
        Some(offset << 32 | size)
    }

    fn layout(earlier: &Description, size: usize) -> Result<OfBindings, Vec<String>> {
        let mut differences = Vec::new();
        let found = OfBindings::of(earlier, &Description::own(), size, &mut differences);
        found.ok_or(differences)
    }

    #[test]
    fn a_description_fits_into_its_map() {
        let own = Description::own();
        assert!(own.0.len() <= LAYOUT_LINES as usize, "{}", own.0.len());
        for needed in OfBindings::NEEDED {
            assert!(own.0.contains_key(needed), "{needed}");
        }
        let longest = own.0.keys().map(String::len).max();
        assert!(longest < Some(size_of_val(&LayoutLine::default().name)));
        let found = layout(&own, size_of::<BindingSet>()).unwrap();
        assert!(found.is_own(&own) && found.unknown.is_empty());
        assert_eq!(own.other_rules(), None);
    }

    /// A binding of 192 bytes: one field stands first, one is new, one is missing, two flags have other bits.
    #[test]
    fn a_binding_is_converted_by_the_names_of_its_fields() {
        let earlier = with(&[
            ("BindingSet.tags", at(4 * 192, 32)),
            ("BindingSet.bindings", at(0, 4 * 192)),
            ("Binding.learned", at(0, 24)),
            ("Binding.key", at(184, 8)),
            ("Binding.other", at(24, 8)),
            ("Binding.pbx", None),
            ("BindingFlags.ENDED", Some(1)),
            ("BindingFlags.DIRECT", Some(32)),
            ("BindingFlags.OTHER", Some(4)),
        ]);
        let wrong = layout(&earlier, 4 * 192 + 32).unwrap_err();
        assert_eq!(
            wrong,
            ["Binding.key: 8 bytes at 184 of 192, must be 16 bytes"]
        );
        let mut earlier = earlier;
        earlier.0.insert("Binding.key".into(), 176 << 32 | 16);
        // Overlaps the text, of which nothing is asked here.
        let found = layout(&earlier, 4 * 192 + 32).unwrap();
        assert_eq!((found.ways, found.size, found.tags), (4, 192, 768));
        assert_eq!(found.unknown, ["Binding.other", "BindingFlags.OTHER"]);
        assert!(!found.is_own(&Description::own()));
        let mut bytes = vec![0; 192];
        let learned = Endpoint::v4([60, 17, 196, 2], 49163);
        bytes[..24].copy_from_slice(learned.as_bytes());
        bytes[176..192].copy_from_slice([7_u64, 8].as_bytes());
        let [flags, _] = earlier.place("Binding.flags").unwrap();
        bytes[flags] = 1 | 4;
        let mut binding = Binding {
            pbx: 9,
            ..Binding::EMPTY
        };
        found.convert(&bytes, &mut binding);
        assert_eq!((binding.key, binding.learned), ([7, 8], learned));
        assert_eq!((binding.pbx, binding.flags), (0, BindingFlags::ENDED));
    }

    #[test]
    fn each_difference_is_named() {
        let earlier = with(&[
            ("RULES", Some(RULES + 1)),
            ("Binding.aor", at(48, 4)),
            ("Binding.seen", None),
            ("Config.secret", None),
        ]);
        assert_eq!(
            earlier.other_rules().unwrap(),
            format!("RULES: their number is {}, must be {RULES}", RULES + 1)
        );
        assert_eq!(
            layout(&earlier, size_of::<BindingSet>()).unwrap_err(),
            [
                "Binding.seen: missing in the earlier layout",
                "Binding.aor: 4 bytes at 48 of 184, must be 8 bytes"
            ]
        );
        let mut differences = Vec::new();
        config(&earlier, Config::default().as_bytes(), &mut differences);
        assert_eq!(
            differences,
            ["Config.secret: missing in the earlier layout"]
        );
        for (tags, bindings, size) in [
            (at(0, 64), at(64, 1472), 1535),
            (at(0, 64), at(60, 1472), 1536),
            (at(0, 0), at(64, 1472), 1536),
            (at(0, 64), at(64, 1464), 1536),
        ] {
            let earlier = with(&[("BindingSet.tags", tags), ("BindingSet.bindings", bindings)]);
            assert!(layout(&earlier, size).is_err(), "{tags:?} {bindings:?}");
        }
    }

    #[test]
    fn settings_are_found_by_their_names() {
        let earlier = with(&[
            ("Config.settled", at(0, 8)),
            ("Config.secret", at(8, 16)),
            ("Config.wildcards", at(24, 8)),
        ]);
        let bytes = [1_u64, 2, 3, 4].as_bytes().to_vec();
        let mut differences = Vec::new();
        let config = config(&earlier, &bytes, &mut differences);
        assert_eq!(differences, [""; 0]);
        assert_eq!((config.settled, config.secret), (1, [2, 3]));
        assert_eq!(config.wildcards, 0, "its size differs");
    }
}
