//! The maps of an earlier data path, of this version or of another one.
//!
//! A table of sets of another version goes on in place if its description says that it is the same. Bindings are converted,
//! field by field, while the earlier programs go on working with them. Counters, history and whatever else calls do not need
//! begin empty, unless the whole layout has the same number. Pins that cannot be taken over so are refused, and stay as they
//! are.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, MapType},
};
use nat_common::abi::{ABI, Config, LayoutLine, map};

use crate::kernel::{
    description::{self, Description, MEDIA, OfBindings},
    layout::Foreign,
    other_bindings::OtherBindings,
    raw,
    tables::{BINDINGS, Tables, differences, is_set, open_pin, other_abi},
};

/// Maps that another version must have as this one has them: rules of the user stand there.
const RULES: [&str; 3] = [map::POLICY, map::GUARD, map::ADDRESSES];

/// Maps of an earlier data path.
pub struct Earlier {
    /// The maps. Of another version's data path: those that go on in place, and empty ones for the others.
    pub tables: Tables,
    /// Set if another version has made them.
    pub other: Option<Other>,
}

/// What another version's maps need beside those that go on in place.
pub struct Other {
    /// Number of their layout.
    pub abi: u32,
    /// Maps that begin empty.
    pub emptied: Vec<&'static str>,
    /// Fields and flags of bindings that this version does not know.
    pub unknown: Vec<String>,
    /// Tables of bindings that are converted, by their names.
    converted: Vec<(&'static str, OtherBindings)>,
}

impl Other {
    /// Returns the bindings of a table that is converted.
    pub(super) fn bindings(&self, table: &str) -> Option<&OtherBindings> {
        let mut converted = self.converted.iter();
        converted.find_map(|(name, bindings)| (*name == table).then_some(bindings))
    }
}

impl Earlier {
    /// Opens the maps pinned in `dir`. `object` is that of this version.
    ///
    /// # Errors
    /// [`Foreign`] if this version cannot take them over.
    pub fn open(dir: &Path, object: &[u8]) -> Result<Self> {
        let error = match Tables::open(dir) {
            Ok(tables) => {
                return Ok(Self {
                    tables,
                    other: None,
                });
            }
            Err(error) => error,
        };
        if !error.is::<Foreign>() {
            return Err(error);
        }
        let Some((abi, config)) = settings(dir)? else {
            return Err(error);
        };
        let Some(described) = describe(dir)? else {
            return Err(error);
        };
        Survey::of(dir, &described, abi, &config)?.open(dir, object, abi)
    }
}

/// Reads the number of the layout, and the settings. None if there are none.
fn settings(dir: &Path) -> Result<Option<(u32, Vec<u8>)>> {
    let Ok(config) = open_pin(dir, map::CONFIG)? else {
        return Ok(None);
    };
    let value = raw::first_value(&config).unwrap_or_default();
    Ok(raw::abi(&value).map(|abi| (abi, value)))
}

/// Whether it is decided by other rules than the number of the layout whether a map goes on.
fn decided(table: &str) -> bool {
    // The settings and the description are written anew.
    let always = [map::CONFIG, map::LAYOUT];
    let lists: [&[&str]; 4] = [&always, &RULES, &BINDINGS, &MEDIA];
    lists.into_iter().flatten().any(|known| *known == table)
}

/// Reads the description of the maps. None if there is none.
fn describe(dir: &Path) -> Result<Option<Description>> {
    let Ok(data) = open_pin(dir, map::LAYOUT)? else {
        return Ok(None);
    };
    let info = data.info()?;
    let is_array = matches!(info.map_type(), Ok(MapType::Array));
    if !is_array || info.value_size() as usize != size_of::<LayoutLine>() {
        return Ok(None);
    }
    let lines = Array::try_from(Map::Array(data))?;
    Description::read(&lines).map(Some)
}

/// What of another version's maps can be used, and how.
struct Survey {
    config: Config,
    /// Maps that go on in place, with their numbers of entries.
    same: Vec<(&'static str, u32)>,
    unknown: Vec<String>,
    converted: Vec<(&'static str, OtherBindings)>,
}

impl Survey {
    fn of(dir: &Path, described: &Description, abi: u32, config: &[u8]) -> Result<Self> {
        let own = Description::own();
        let mut wrong: Vec<String> = described.other_rules().into_iter().collect();
        let mut survey = Self {
            config: description::config(described, config, &mut wrong),
            same: Vec::new(),
            unknown: Vec::new(),
            converted: Vec::new(),
        };
        for name in RULES {
            let found = match open_pin(dir, name)? {
                Ok(map) => survey.goes_on(name, &map)?,
                Err(missing) => vec![missing],
            };
            wrong.extend(found);
        }
        let mut of_bindings = Vec::new();
        for name in BINDINGS {
            match open_pin(dir, name)? {
                Ok(map) => survey.bindings(name, map, described, &own, &mut of_bindings)?,
                Err(missing) => wrong.push(missing),
            }
        }
        // Both tables have the same layout.
        for difference in of_bindings {
            if !wrong.contains(&difference) {
                wrong.push(difference);
            }
        }
        if !wrong.is_empty() {
            let mut differences: Vec<String> = other_abi(abi).into_iter().collect();
            differences.append(&mut wrong);
            return Err(Foreign {
                dir: dir.display().to_string(),
                differences,
            }
            .into());
        }
        for table in Tables::names() {
            let same = if is_set(table) {
                described.has_same(&own, table)
            } else {
                abi == ABI && !decided(table)
            };
            if same {
                survey.try_in_place(dir, &[table])?;
            }
        }
        if described.has_same(&own, map::MEDIA) {
            survey.try_in_place(dir, &MEDIA)?;
        }
        Ok(survey)
    }

    /// Notes that a map goes on in place, unless it differs.
    fn goes_on(&mut self, name: &'static str, map: &MapData) -> Result<Vec<String>> {
        let found = differences(name, map)?;
        if found.is_empty() {
            self.same.push((name, map.info()?.max_entries()));
        }
        Ok(found)
    }

    /// Notes that maps go on in place, if all are there, and as they must be.
    fn try_in_place(&mut self, dir: &Path, names: &[&'static str]) -> Result<()> {
        let known = self.same.len();
        for name in names {
            let fits = match open_pin(dir, name)? {
                Ok(map) => self.goes_on(name, &map)?.is_empty(),
                Err(_missing) => false,
            };
            if !fits {
                self.same.truncate(known);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes how a table of bindings goes on.
    fn bindings(
        &mut self,
        name: &'static str,
        map: MapData,
        described: &Description,
        own: &Description,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        let info = map.info()?;
        let size = info.value_size() as usize;
        let is_array = matches!(info.map_type(), Ok(MapType::Array));
        if !is_array {
            wrong.extend(differences(name, &map)?);
            return Ok(());
        }
        let Some(layout) = OfBindings::of(described, own, size, wrong) else {
            return Ok(());
        };
        if layout.is_own(own) && self.goes_on(name, &map)?.is_empty() {
            return Ok(());
        }
        self.unknown.clone_from(&layout.unknown);
        let bindings = OtherBindings::new(&map, layout);
        let bindings = bindings.with_context(|| format!("cannot read {name}"))?;
        self.converted.push((name, bindings));
        Ok(())
    }

    /// Makes empty maps of this version beside those that go on in place.
    fn open(self, dir: &Path, object: &[u8], abi: u32) -> Result<Earlier> {
        let mut loader = EbpfLoader::new();
        for (name, entries) in &self.same {
            loader.map_max_entries(name, *entries);
            loader.map_pin_path(name, dir.join(name));
        }
        let maps = loader.btf(None).load(object);
        let mut tables = Tables::take(&mut maps.context("cannot load the eBPF object")?)?;
        let config = Config {
            abi: ABI,
            ..self.config
        };
        tables
            .config
            .set(0, config, 0)
            .context("cannot write CONFIG")?;
        let goes_on = |name: &str| {
            let same = self.same.iter().map(|(name, _)| *name);
            let converted = self.converted.iter().map(|(name, _)| *name);
            same.chain(converted).any(|known| known == name)
        };
        // These are written anew in any case.
        let written = [map::CONFIG, map::LAYOUT, map::MEDIA_CONFIG];
        let emptied = Tables::names().into_iter();
        let emptied = emptied.filter(|name| !goes_on(name) && !written.contains(name));
        Ok(Earlier {
            tables,
            other: Some(Other {
                abi,
                emptied: emptied.collect(),
                unknown: self.unknown,
                converted: self.converted,
            }),
        })
    }
}
