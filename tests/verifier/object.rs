//! The object with the kernel programs, ready for the verifier: its maps made, its calls and maps relocated, the names of its
//! functions and lines at hand.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::CStr,
    ops::Range,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use aya_obj::{
    EbpfSectionKind, Function, Object, Program, ProgramSection,
    generated::{bpf_attach_type, bpf_insn, bpf_prog_type},
};
use nat_userspace::{checks::preflight::Kernel, kernel::loops::Loops};

use crate::kernel;

/// Flag of a program that takes frames in several pieces: `BPF_F_XDP_HAS_FRAGS`.
const HAS_FRAGS: u32 = 1 << 5;
/// Program that only shows whether the kernel has `may_goto`.
const PROBE: &str = "may_goto";
/// Name of a program's variant for `bpf_loop` ends so.
const CALLBACKS: &str = "_loop";

/// The kernel programs.
pub(crate) struct Programs {
    object: Object,
    btf: Option<OwnedFd>,
    /// Strings of the type information: names and lines.
    strings: Vec<u8>,
    /// Names of functions, by their type's number.
    names: HashMap<u32, String>,
    /// Keep their descriptors, which the instructions hold, open.
    _maps: Vec<MapData>,
}

/// A program as the kernel takes it.
pub(crate) struct Code<'a> {
    pub(crate) function: &'a Function,
    pub(crate) license: &'a CStr,
    pub(crate) kind: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
}

/// A function of a program.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Its instructions.
    pub(crate) range: Range<usize>,
    /// First instructions of the functions that it calls or hands to `bpf_loop`.
    pub(crate) calls: Vec<usize>,
    /// Bytes that the kernel adds to its stack frame for its loops. It does so after it has checked the stack.
    pub(crate) added: u32,
}

/// A line of the source from which instructions come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) file: String,
    pub(crate) number: u32,
    pub(crate) text: String,
}

impl Programs {
    /// Parses an object, and makes its maps.
    ///
    /// # Errors
    /// If it is not sipnat's, or the kernel makes no maps.
    pub(crate) fn open(bytes: &[u8], media: bool, replay: bool) -> Result<Self> {
        let mut object = Object::parse(bytes).context("this is no object with kernel programs")?;
        let [media, replay] = [media, replay].map(|is| u32::from(is).to_ne_bytes());
        object
            .patch_map_data(HashMap::from([
                ("MEDIA_ON", (media.as_slice(), true)),
                ("REPLAY", (replay.as_slice(), true)),
                // As an agent that logs nothing: the verifier then removes logging.
                ("AYA_LOG_LEVEL", (&[0], false)),
            ]))
            .context("this is no object of sipnat: it lacks a constant")?;
        let mut btf = None;
        if let Some(features) = aya::features().btf()
            && let Some(types) = object.fixup_and_sanitize_btf(features)?
        {
            btf = Some(kernel::load_btf(&types.to_bytes()).context("the kernel refuses the BTF")?);
        }
        let types = object.btf.as_ref().context(
            "the object has no BTF, which names functions: build it with `cargo xtask build`",
        )?;
        // Symbols tell functions apart that differ in their types only. BTF has their short names.
        let named = object.functions.values().filter_map(|function| {
            let first = function.func_info.func_info.first()?;
            Some((first.type_id, readable(&function.name)))
        });
        let names = named.collect();
        let strings = strings(&types.to_bytes());
        let mut made = Vec::new();
        let mut maps = Vec::new();
        for (name, map) in object.maps.drain() {
            let data = MapData::create(map.clone(), &name, btf.as_ref().map(OwnedFd::as_fd))
                .with_context(|| format!("cannot make map {name}: are you root?"))?;
            if map.section_kind() == EbpfSectionKind::Rodata {
                kernel::fill(data.fd(), map.data())
                    .with_context(|| format!("cannot fill map {name}"))?;
            }
            maps.push((name, data.fd().as_fd().as_raw_fd(), map));
            made.push(data);
        }
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object.relocate_maps(
            maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
            &text,
        )?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(aya::features());
        Ok(Self {
            object,
            btf,
            strings,
            names,
            _maps: made,
        })
    }

    /// Returns the names of the programs that loop so, and of those without loops.
    pub(crate) fn names(&self, loops: Loops) -> Vec<&str> {
        let all = self.object.programs.keys().map(String::as_str);
        let has_variant = |name: &str| {
            self.object
                .programs
                .contains_key(&format!("{name}{CALLBACKS}"))
        };
        let mut names: Vec<&str> = all
            .filter(|name| match loops {
                Loops::MayGoto => !name.ends_with(CALLBACKS),
                Loops::BpfLoop => !has_variant(name),
            })
            .filter(|name| *name != PROBE)
            .collect();
        names.sort_by_key(|name| (name.starts_with("media"), name.starts_with("sdp"), *name));
        names
    }

    /// Returns which loops the verifier of this kernel knows.
    ///
    /// # Errors
    /// If it has no verdict.
    pub(crate) fn probe(&self) -> Result<Loops> {
        let answer = kernel::verify(&self.code(PROBE)?, self.btf.as_ref())?;
        Ok(if answer.refused.is_some() {
            Loops::BpfLoop
        } else {
            Loops::MayGoto
        })
    }

    /// Has the verifier read a program.
    ///
    /// # Errors
    /// If it has no verdict.
    pub(crate) fn verify(&self, name: &str) -> Result<kernel::Answer> {
        kernel::verify(&self.code(name)?, self.btf.as_ref())
    }

    /// Returns a program as the kernel takes it.
    pub(crate) fn code(&self, name: &str) -> Result<Code<'_>> {
        let program: &Program = self
            .object
            .programs
            .get(name)
            .with_context(|| format!("the object has no program {name}"))?;
        let function = &self.object.functions[&program.function_key()];
        let (kind, attach_type, flags) = match &program.section {
            ProgramSection::Xdp { frags, .. } => (
                bpf_prog_type::BPF_PROG_TYPE_XDP,
                bpf_attach_type::BPF_XDP as u32,
                if *frags { HAS_FRAGS } else { 0 },
            ),
            _ => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, 0, 0),
        };
        Ok(Code {
            function,
            license: &program.license,
            kind: kind as u32,
            attach_type,
            flags,
        })
    }

    /// Returns the functions of a program in the order of their instructions.
    pub(crate) fn parts(&self, name: &str) -> Result<Vec<Part>> {
        let function = self.code(name)?.function;
        let starts = &function.func_info.func_info;
        ensure!(!starts.is_empty(), "BTF names no function of {name}");
        let end = function.instructions.len();
        let ends = starts.iter().skip(1).map(|info| info.insn_off as usize);
        let parts = starts.iter().zip(ends.chain([end])).map(|(info, end)| {
            let range = info.insn_off as usize..end;
            let known = self.names.get(&info.type_id).cloned();
            Part {
                name: known.unwrap_or_else(|| format!("function at {}", range.start)),
                calls: calls(&function.instructions, range.clone()),
                added: added(&function.instructions[range.clone()]),
                range,
            }
        });
        Ok(parts.collect())
    }

    /// Returns the source lines of a program, by the instructions at which they begin.
    pub(crate) fn lines(&self, name: &str) -> Result<BTreeMap<usize, Line>> {
        let function = self.code(name)?.function;
        let lines = function.line_info.line_info.iter().map(|info| {
            let line = Line {
                file: short(&self.string(info.file_name_off)),
                number: info.line_col >> 10,
                text: self.string(info.line_off).trim().to_owned(),
            };
            (info.insn_off as usize, line)
        });
        Ok(lines.collect())
    }

    fn string(&self, offset: u32) -> String {
        let bytes = self.strings.get(offset as usize..).unwrap_or_default();
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// Returns the strings of type information: its header says where they begin.
fn strings(types: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        let bytes = types
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes) as usize
    };
    let [header, offset] = [word(4), word(16)];
    types.get(header + offset..).unwrap_or_default().to_vec()
}

/// Returns the first instructions of the functions that these instructions call, or hand to `bpf_loop`.
fn calls(instructions: &[bpf_insn], range: Range<usize>) -> Vec<usize> {
    const CALL: u8 = 0x85;
    const LOAD: u8 = 0x18;
    /// Source register of a call of a function of the program: `BPF_PSEUDO_CALL`.
    const LOCAL: u8 = 1;
    /// Source register of a load of a function's address: `BPF_PSEUDO_FUNC`.
    const CALLBACK: u8 = 4;
    let mut found: Vec<usize> = range
        .filter(|at| {
            let instruction = &instructions[*at];
            let kind = (instruction.code, instruction.src_reg());
            kind == (CALL, LOCAL) || kind == (LOAD, CALLBACK)
        })
        .map(|at| (at as i64 + 1 + i64::from(instructions[at].imm)) as usize)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns the bytes that the kernel adds to the stack of a function for its loops.
fn added(instructions: &[bpf_insn]) -> u32 {
    const CALL: u8 = 0x85;
    const BPF_LOOP: i32 = 181;
    const MAY_GOTO: u8 = 0xe5;
    /// First kernel that also counts the time of such a loop.
    const TIMED: Kernel = Kernel(6, 15);
    let any = |is: fn(&bpf_insn) -> bool| instructions.iter().any(is);
    let callbacks = any(|i| i.code == CALL && i.src_reg() == 0 && i.imm == BPF_LOOP);
    let goto = any(|i| i.code == MAY_GOTO);
    let is_timed = || Kernel::running().is_ok_and(|kernel| kernel >= TIMED);
    let counter = if goto && is_timed() { 16 } else { 8 };
    u32::from(callbacks) * 24 + u32::from(goto) * counter
}

/// Returns a name without mangling, without the names of sipnat's crates, and without the long name of its loop by callbacks.
fn readable(name: &str) -> String {
    let mut name = format!("{:#}", rustc_demangle::demangle(name));
    for (long, short) in [
        ("nat_common::", ""),
        ("sipnat_bpf::", ""),
        (
            "<repeat::Callback as bpf::repeat::Repeat>::repeat::call",
            "callback",
        ),
    ] {
        name = name.replace(long, short);
    }
    name
}

/// Returns a path from the crate on.
fn short(file: &str) -> String {
    let at = ["nat-common/", "nat-ebpf/"]
        .iter()
        .find_map(|name| file.find(name));
    at.map_or(file, |at| &file[at..]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable() {
        assert_eq!(
            readable("_RNvNtCshpQZKFe2JEF_10sipnat_bpf8redirect5apply"),
            "redirect::apply"
        );
        assert_eq!(readable("prove_pair"), "prove_pair");
    }

    #[test]
    fn files_are_named_from_the_crate_on() {
        assert_eq!(short("/home/x/nat-ebpf/src/env.rs"), "nat-ebpf/src/env.rs");
        assert_eq!(
            short("/rustc/1/core/src/ptr.rs"),
            "/rustc/1/core/src/ptr.rs"
        );
    }

    #[test]
    fn the_header_of_type_information_says_where_its_strings_begin() {
        let mut types = vec![0; 24 + 8];
        types[4] = 24;
        types[16] = 8;
        types.extend(b"\0name\0");
        assert_eq!(strings(&types), b"\0name\0");
        assert_eq!(strings(&[]), b"");
    }
}
