//! Pins as an agent of another version leaves them: tables of another layout, and the description of it.

use std::{
    ffi::{CString, c_long},
    fs,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nat_common::{
    abi::{
        Binding, BindingFlags, BindingSet, Counter, Described as _, Field, LAYOUT_LINES,
        LayoutLine, map, named_flags,
    },
    tables::bindings::BindingKey,
};
use nat_test_support::bpf;
use nat_userspace::kernel::{
    mapped::Access,
    tables::{BindingTable, Tables},
};

/// Bindings in a set of the other layout.
const WAYS: usize = 4;

/// Size of a binding of the other layout, which has a field of eight bytes more.
const SIZE: usize = size_of::<Binding>() + 8;

/// Field that only the other layout has.
const UNKNOWN: &str = "Binding.mood";

/// Field that only this version has.
const MISSING: &str = "Binding.pbx";

/// Layout in which the pins of this version are written again.
#[derive(Debug, Default)]
pub(super) struct Other {
    /// Lines of the description that differ from those of the other layout; none: the line is missing.
    pub(super) lines: Vec<(&'static str, Option<u64>)>,
}

impl Other {
    /// Writes the pins in `dir` anew, in the layout of the number before. The programs go on with the maps that they have.
    pub(super) fn write(&self, dir: &Path) -> Result<Written> {
        let mut tables = Tables::open(dir)?;
        let dialogs = bindings(dir, map::DIALOGS, &tables.dialogs)?;
        let contacts = bindings(dir, map::CONTACTS, &tables.contacts)?;
        for index in 0..LAYOUT_LINES {
            let line = tables.layout.get(&index, 0)?;
            if let Some(number) = line_of(&name_of(&line)) {
                tables.layout.set(index, LayoutLine { number, ..line }, 0)?;
            }
        }
        let unknown = Field {
            name: UNKNOWN,
            offset: SIZE - 8,
            size: 8,
        };
        set_line(&mut tables, UNKNOWN, Some(unknown.number()))?;
        set_line(&mut tables, MISSING, None)?;
        for (name, number) in &self.lines {
            set_line(&mut tables, name, *number)?;
        }
        let mut config = tables.config()?;
        config.abi -= 1;
        tables.config.set(0, config, 0)?;
        Ok(Written {
            tables,
            dialogs,
            contacts,
        })
    }
}

/// Pinned tables of the other layout, and those with which the programs go on.
pub(super) struct Written {
    tables: Tables,
    dialogs: OwnedFd,
    contacts: OwnedFd,
}

impl Written {
    /// Changes the pinned tables as the programs have changed theirs: programs of the other version would do so.
    pub(super) fn follow(&self) -> Result<()> {
        fill(&self.dialogs, &self.tables.dialogs)?;
        fill(&self.contacts, &self.tables.contacts)
    }
}

/// Offset of a field in the other layout: the last comes first.
const fn offset(field: &Field) -> usize {
    size_of::<Binding>() - field.offset - field.size
}

/// Bit of a flag in the other layout: the next one.
const fn bit(bit: u16) -> u16 {
    bit.rotate_left(1)
}

/// Number of a line that has another one in the other layout.
fn line_of(name: &str) -> Option<u64> {
    let place = |offset, size| {
        Field {
            name: "",
            offset,
            size,
        }
        .number()
    };
    match name {
        "BindingSet.bindings" => return Some(place(0, WAYS * SIZE)),
        "BindingSet.tags" => return Some(place(WAYS * SIZE, WAYS * 8)),
        _ => {}
    }
    if let Some(field) = Binding::FIELDS.iter().find(|field| field.name == name) {
        return Some(place(offset(field), field.size));
    }
    let flag = name.strip_prefix("BindingFlags.")?;
    let (_, known) = named_flags::<BindingFlags>().find(|(name, _)| *name == flag)?;
    Some(bit(known).into())
}

/// Returns a binding in the other layout.
fn other(binding: &Binding) -> Vec<u8> {
    let flags = named_flags::<BindingFlags>();
    let set = flags.filter(|(_, known)| binding.flags.bits() & known != 0);
    let flags = set.fold(0, |flags, (_, known)| flags | bit(known));
    let binding = Binding {
        flags: BindingFlags::from_bits_retain(flags),
        ..*binding
    };
    // SAFETY: a binding has no padding, and any byte of it may be read.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const binding).cast::<u8>(), size_of::<Binding>())
    };
    let mut value = vec![0xee; SIZE];
    for field in Binding::FIELDS {
        value[offset(field)..][..field.size].copy_from_slice(&bytes[field.offset..][..field.size]);
    }
    value
}

/// Size of a set of the other layout.
const SET: usize = WAYS * (SIZE + 8);
const _: () = assert!(SET != size_of::<BindingSet>());

/// Sets for bindings that come later.
const SPARE: usize = 128;

/// Pins a table of the other layout in place of one of bindings.
fn bindings<K: BindingKey>(dir: &Path, name: &str, table: &BindingTable<K>) -> Result<OwnedFd> {
    let known = table.open(Access::Read)?.iter().count();
    let sets = known.div_ceil(WAYS) + SPARE;
    let map = make_array(BPF_MAP_TYPE_ARRAY, SET, sets, BPF_F_MMAPABLE)?;
    fill(&map, table)?;
    replace(&map, dir, name)?;
    Ok(map)
}

/// Copies bindings into a table of the other layout.
fn fill<K: BindingKey>(map: &OwnedFd, from: &BindingTable<K>) -> Result<()> {
    let known: Vec<Binding> = from.open(Access::Read)?.iter().map(|(_, b)| b).collect();
    for (index, chunk) in known.chunks(WAYS).enumerate() {
        let mut set = vec![0; SET];
        for (way, binding) in chunk.iter().enumerate() {
            set[way * SIZE..][..SIZE].copy_from_slice(&other(binding));
            // Some hash, and no busy bit.
            set[WAYS * SIZE + way * 8..][..8].copy_from_slice(&(1_u64 << 20).to_ne_bytes());
        }
        write(map, index as u32, &set)?;
    }
    Ok(())
}

/// Pins counters of which the last is missing.
pub(super) fn write_fewer_counters(dir: &Path) -> Result<()> {
    let number = Counter::COUNT as usize - 1;
    let map = make_array(BPF_MAP_TYPE_PERCPU_ARRAY, size_of::<u64>(), number, 0)?;
    replace(&map, dir, map::COUNTERS)
}

fn replace(map: &OwnedFd, dir: &Path, name: &str) -> Result<()> {
    let draft = dir.join("other");
    pin(map, &draft)?;
    Ok(fs::rename(draft, dir.join(name))?)
}

fn name_of(line: &LayoutLine) -> String {
    let name: Vec<u8> = line.name.into_iter().take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}

/// Changes a line of the description, or the first that is free.
fn set_line(tables: &mut Tables, name: &str, number: Option<u64>) -> Result<()> {
    let mut free = None;
    let mut found = None;
    for index in 0..LAYOUT_LINES {
        let known = name_of(&tables.layout.get(&index, 0)?);
        if known == name {
            found = Some(index);
        } else if known.is_empty() && free.is_none() {
            free = Some(index);
        }
    }
    let index = found.or(free).context("no free line")?;
    let mut line = LayoutLine::default();
    if let Some(number) = number {
        line.number = number;
        line.name[..name.len()].copy_from_slice(name.as_bytes());
    }
    Ok(tables.layout.set(index, line, 0)?)
}

// From linux/bpf.h.
const BPF_MAP_CREATE: c_long = 0;
const BPF_MAP_UPDATE_ELEM: c_long = 2;
const BPF_OBJ_PIN: c_long = 6;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Makes an array.
fn make_array(kind: u32, value: usize, entries: usize, flags: u32) -> Result<OwnedFd> {
    let attributes = [
        kind,
        size_of::<u32>() as u32,
        value as u32,
        entries as u32,
        flags,
    ];
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf::make(BPF_MAP_CREATE, &attributes) }.context("make a map")
}

fn write(map: &OwnedFd, index: u32, value: &[u8]) -> Result<()> {
    let attributes = [
        map.as_raw_fd() as u64,
        (&raw const index).addr() as u64,
        value.as_ptr().addr() as u64,
        0,
    ];
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf::call(BPF_MAP_UPDATE_ELEM, &attributes) }.context("write to a map")?;
    Ok(())
}

fn pin(map: &OwnedFd, at: &Path) -> Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let attributes = [path.as_ptr().addr() as u64, map.as_raw_fd() as u64];
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf::call(BPF_OBJ_PIN, &attributes) }
        .with_context(|| format!("pin {}", at.display()))?;
    Ok(())
}
