//! Check that no callback of `bpf_loop` contains a loop.
//!
//! The verifier of kernel 6.18 crashes on such a loop, and the machine with it. The sources contain none, but the compiler
//! may create one. So every object is checked before anything loads it.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind,
};

/// A BPF instruction (RFC 9669 3).
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// BPF opcodes (RFC 9669 4 and 5).
mod code {
    /// Load of 64 bits, which takes two instructions.
    pub(super) const LOAD: u8 = 0x18;
    /// Jump by the offset.
    pub(super) const GOTO: u8 = 0x05;
    /// Jump by the immediate.
    pub(super) const GOTO_FAR: u8 = 0x06;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    /// Classes of all jumps, with 64-bit and 32-bit operands: the last three bits of an opcode.
    pub(super) const JUMPS: [u8; 2] = [5, 6];
}

/// Source register of a call to another function of the object.
const LOCAL: u8 = 1;

/// Position of an instruction: its section, and its number within the section.
type Position = (SectionIndex, usize);

/// Instructions of an object, with the targets of its relocated calls.
#[derive(Default)]
struct Code {
    sections: HashMap<SectionIndex, Vec<Instruction>>,
    /// First instruction of the called function, by position of the call.
    calls: HashMap<Position, Position>,
}

/// Returns the number of callbacks. Fails if a callback, or a function that it calls, contains a loop.
pub(crate) fn check(object: &[u8]) -> Result<usize> {
    let elf = object::File::parse(object)?;
    let mut code = Code::default();
    let mut callbacks = HashSet::new();
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
            let instruction = instructions
                .get(at)
                .context("a relocation without an instruction")?;
            let start = symbol.address() as i64 / 8;
            if instruction.code == code::LOAD {
                // The address of a function is loaded only for bpf_loop, which calls it back.
                let first = start + i64::from(instruction.immediate) / 8;
                callbacks.insert((target, first as usize));
            } else {
                let first = start + i64::from(instruction.immediate) + 1;
                let call = (section.index(), at);
                code.calls.insert(call, (target, first as usize));
            }
        }
        code.sections.insert(section.index(), instructions);
    }
    for &(section, at) in &callbacks {
        if code.has_loop((section, at)) {
            let mut symbols = elf.symbols();
            let symbol = symbols
                .find(|s| (s.section_index(), s.address()) == (Some(section), at as u64 * 8));
            let name = symbol.and_then(|s| s.name().ok()).unwrap_or("a function");
            bail!(
                "bpf_loop calls {name} back, which contains a loop: some kernels crash on it, so unroll the loop in the \
                 source"
            );
        }
    }
    Ok(callbacks.len())
}

/// Decodes the instructions of a section.
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

impl Code {
    /// Whether some path from `start` returns to an instruction that it has passed.
    fn has_loop(&self, start: Position) -> bool {
        // Depth-first search: `path` holds the instructions that lead to the current one.
        let mut path = HashSet::new();
        let mut done = HashSet::new();
        let mut stack = vec![(start, Step::Enter)];
        while let Some((position, step)) = stack.pop() {
            if step == Step::Leave {
                path.remove(&position);
                done.insert(position);
                continue;
            }
            if done.contains(&position) {
                continue;
            }
            if !path.insert(position) {
                return true;
            }
            stack.push((position, Step::Leave));
            for next in self.successors(position) {
                if path.contains(&next) {
                    return true;
                }
                if !done.contains(&next) {
                    stack.push((next, Step::Enter));
                }
            }
        }
        false
    }

    /// Positions that can follow an instruction. After a call, that is also the first instruction of the called function.
    fn successors(&self, position: Position) -> Vec<Position> {
        let (section, at) = position;
        let instructions = self.sections.get(&section);
        let Some(instruction) = instructions.and_then(|instructions| instructions.get(at)) else {
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
                let called = self.calls.get(&position).copied();
                vec![to(0), called.unwrap_or_else(|| to(immediate))]
            }
            code::CALL => vec![to(0)],
            other if code::JUMPS.contains(&(other & 7)) => vec![to(0), to(offset)],
            _ => vec![to(0)],
        }
    }
}

/// Step of the depth-first search at one instruction.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// Search its successors.
    Enter,
    /// All of its successors were searched.
    Leave,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: SectionIndex = SectionIndex(1);
    const MOVE: u8 = 0xb7;
    const IF: u8 = 0x15;

    fn has_loop(code: &[(u8, u8, i16, i32)]) -> bool {
        let instructions = code
            .iter()
            .map(|(code, source, offset, immediate)| Instruction {
                code: *code,
                source: *source,
                offset: *offset,
                immediate: *immediate,
            });
        let code = Code {
            sections: HashMap::from([(SECTION, instructions.collect())]),
            calls: HashMap::new(),
        };
        code.has_loop((SECTION, 0))
    }

    #[test]
    fn only_a_path_back_to_a_passed_instruction_is_a_loop() {
        assert!(!has_loop(&[(MOVE, 0, 0, 0), (code::EXIT, 0, 0, 0)]));
        // Two paths that meet again.
        assert!(!has_loop(&[
            (IF, 0, 1, 0),
            (MOVE, 0, 0, 0),
            (code::EXIT, 0, 0, 0)
        ]));
        // A jump back to an instruction that was not passed.
        assert!(!has_loop(&[
            (code::GOTO, 0, 1, 0),
            (code::EXIT, 0, 0, 0),
            (code::GOTO, 0, -2, 0)
        ]));
        assert!(has_loop(&[
            (MOVE, 0, 0, 0),
            (IF, 0, -2, 0),
            (code::EXIT, 0, 0, 0)
        ]));
        assert!(has_loop(&[(code::GOTO_FAR, 0, 0, -1)]));
    }

    #[test]
    fn a_loop_in_a_called_function_counts() {
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
        // The third instruction is the second half of the load, not a jump back.
        assert!(!has_loop(&called(0)));
        let mut looping = called(-2);
        assert!(has_loop(&looping));
        // A call of a helper leads to no function of the object.
        looping[0].1 = 0;
        assert!(!has_loop(&looping));
    }
}
