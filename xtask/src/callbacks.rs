//! What `bpf_loop` calls back may not hold a loop: the verifier of kernel 6.18 crashes on one, and takes the machine with
//! it. The sources hold none there, but a compiler may make one, so each object is looked through before anybody loads it.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind,
};

/// An instruction (RFC 9669 3).
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// Opcodes.
mod code {
    /// Loads 64 bits, and takes two places.
    pub(super) const LOAD: u8 = 0x18;
    pub(super) const GOTO: u8 = 0x05;
    /// The same, by its immediate.
    pub(super) const GOTO_FAR: u8 = 0x06;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    /// The last three bits of all jumps, of 64 and of 32 bits.
    pub(super) const JUMPS: [u8; 2] = [5, 6];
}

/// A call of another function of the object.
const LOCAL: u8 = 1;

/// Where an instruction is: its section, and its number there.
type Place = (SectionIndex, usize);

/// Fails if a function that is called back, or one that it calls, holds a loop. How many are called back.
pub(crate) fn check(object: &[u8]) -> Result<usize> {
    let elf = object::File::parse(object)?;
    let mut code = HashMap::new();
    // The function that an instruction means.
    let mut meant = HashMap::new();
    let mut called_back = HashSet::new();
    for section in elf.sections().filter(|s| s.kind() == SectionKind::Text) {
        let instructions = read(section.data()?);
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = elf.symbol_by_index(symbol)?;
            let Some(target) = symbol.section_index() else {
                continue;
            };
            if elf.section_by_index(target)?.kind() != SectionKind::Text {
                continue;
            }
            let at = at as usize / 8;
            let instruction = instructions.get(at).context("a relocation of nothing")?;
            let start = symbol.address() as i64 / 8;
            if instruction.code == code::LOAD {
                let place = start + i64::from(instruction.immediate) / 8;
                called_back.insert((target, place as usize));
            } else {
                let place = start + i64::from(instruction.immediate) + 1;
                meant.insert((section.index(), at), (target, place as usize));
            }
        }
        code.insert(section.index(), instructions);
    }
    for place in &called_back {
        if holds_loop(&code, &meant, *place) {
            let mut symbols = elf.symbols();
            let named = symbols
                .find(|s| (s.section_index(), s.address()) == (Some(place.0), place.1 as u64 * 8));
            let name = named.and_then(|s| s.name().ok()).unwrap_or("a function");
            bail!(
                "{name} is called back by bpf_loop and holds a loop, on which some kernels crash: write out what the \
                 compiler did not unroll"
            );
        }
    }
    Ok(called_back.len())
}

fn read(code: &[u8]) -> Vec<Instruction> {
    let (instructions, _) = code.as_chunks();
    let read = |[code, registers, o0, o1, i0, i1, i2, i3]: &[u8; 8]| Instruction {
        code: *code,
        source: registers >> 4,
        offset: i16::from_le_bytes([*o0, *o1]),
        immediate: i32::from_le_bytes([*i0, *i1, *i2, *i3]),
    };
    instructions.iter().map(read).collect()
}

/// Whether a way leads from an instruction that can be reached from `start` back to it.
fn holds_loop(
    code: &HashMap<SectionIndex, Vec<Instruction>>,
    meant: &HashMap<Place, Place>,
    start: Place,
) -> bool {
    // Depth first: what is open leads to where we are.
    let mut open = HashSet::new();
    let mut done = HashSet::new();
    let mut way = vec![(start, false)];
    while let Some((place, left)) = way.pop() {
        if left {
            open.remove(&place);
            done.insert(place);
            continue;
        }
        if done.contains(&place) {
            continue;
        }
        if !open.insert(place) {
            return true;
        }
        way.push((place, true));
        for next in after(code, meant, place) {
            if open.contains(&next) {
                return true;
            }
            if !done.contains(&next) {
                way.push((next, false));
            }
        }
    }
    false
}

/// Where an instruction leads, the first instruction of a function that it calls included.
fn after(
    code: &HashMap<SectionIndex, Vec<Instruction>>,
    meant: &HashMap<Place, Place>,
    place: Place,
) -> Vec<Place> {
    let (section, at) = place;
    let Some(instruction) = code.get(&section).and_then(|code| code.get(at)) else {
        return Vec::new();
    };
    let to = |offset: i64| (section, (at as i64 + 1 + offset) as usize);
    let offset = i64::from(instruction.offset);
    let immediate = i64::from(instruction.immediate);
    match instruction.code {
        code::EXIT => vec![],
        code::LOAD => vec![to(1)],
        code::GOTO => vec![to(offset)],
        code::GOTO_FAR => vec![to(immediate)],
        code::CALL if instruction.source == LOCAL => {
            let called = meant.get(&place).copied();
            vec![to(0), called.unwrap_or_else(|| to(immediate))]
        }
        code::CALL => vec![to(0)],
        other if code::JUMPS.contains(&(other & 7)) => vec![to(0), to(offset)],
        _ => vec![to(0)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: SectionIndex = SectionIndex(1);
    const MOVE: u8 = 0xb7;
    const IF: u8 = 0x15;

    fn holds_loop_in(code: &[(u8, u8, i16, i32)]) -> bool {
        let instructions = code
            .iter()
            .map(|(code, source, offset, immediate)| Instruction {
                code: *code,
                source: *source,
                offset: *offset,
                immediate: *immediate,
            });
        let code = HashMap::from([(SECTION, instructions.collect())]);
        holds_loop(&code, &HashMap::new(), (SECTION, 0))
    }

    #[test]
    fn jumps_forth_and_back_are_no_loop_unless_they_meet() {
        assert!(!holds_loop_in(&[(MOVE, 0, 0, 0), (code::EXIT, 0, 0, 0)]));
        // Two ways that meet again.
        assert!(!holds_loop_in(&[
            (IF, 0, 1, 0),
            (MOVE, 0, 0, 0),
            (code::EXIT, 0, 0, 0)
        ]));
        // What comes later stands before.
        assert!(!holds_loop_in(&[
            (code::GOTO, 0, 1, 0),
            (code::EXIT, 0, 0, 0),
            (code::GOTO, 0, -2, 0)
        ]));
        assert!(holds_loop_in(&[
            (MOVE, 0, 0, 0),
            (IF, 0, -2, 0),
            (code::EXIT, 0, 0, 0)
        ]));
        assert!(holds_loop_in(&[(code::GOTO_FAR, 0, 0, -1)]));
    }

    #[test]
    fn a_loop_of_what_is_called_counts() {
        let called = |back| {
            [
                (code::CALL, LOCAL, 0, 3),
                (code::LOAD, 0, 0, 7),
                (IF, 0, -3, 7),
                (code::EXIT, 0, 0, 0),
                (MOVE, 0, 0, 0),
                (IF, 0, back, 0),
                (code::EXIT, 0, 0, 0),
            ]
        };
        // The third is the second half of the load.
        assert!(!holds_loop_in(&called(0)));
        let mut called_with = called(-2);
        assert!(holds_loop_in(&called_with));
        // A helper is no function of the object.
        called_with[0].1 = 0;
        assert!(!holds_loop_in(&called_with));
    }
}
