//! Reads the verifier's log.
//!
//! At level 2 the log has a line for each visit of an instruction: `12: (79) r6 = *(u64 *)(r1 +0)`, and behind it the registers
//! that changed. Where the verifier finds a state that it knows, the line is `12: safe` or `from 8 to 12: safe`: it counts this
//! visit, too. Other lines are states, source lines, and what made a register precise: `regs=4 stack=0 before 12: (bf) ...`.

use std::str;

/// Limit of the log's lines that say why the verifier refused a program.
const REASONS: usize = 3;

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Visits by instruction. Instructions at the end that were never visited are left out.
    pub(crate) visits: Vec<u64>,
    /// Number of visits that the verifier itself has counted; none if the log is cut.
    pub(crate) processed: Option<u64>,
    /// Stack of each function in bytes, in the order of their instructions. The verifier has removed those that it never
    /// visited.
    pub(crate) stack: Vec<u32>,
    /// Microseconds of verification.
    pub(crate) microseconds: Option<u64>,
    /// Last lines before the statistics. If the program was refused, they say why.
    pub(crate) last: Vec<String>,
}

impl Log {
    /// Reads a log up to its first zero byte.
    pub(crate) fn read(text: &[u8]) -> Self {
        let mut log = Self::default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(instruction) = visited(line) {
                if log.visits.len() <= instruction {
                    log.visits.resize(instruction + 1, 0);
                }
                log.visits[instruction] += 1;
                log.last.clear();
                continue;
            }
            let Ok(line) = str::from_utf8(line) else {
                continue;
            };
            if let Some(rest) = line.strip_prefix("processed ") {
                log.processed = first_number(rest);
            } else if let Some(rest) = line.strip_prefix("verification time ") {
                log.microseconds = first_number(rest);
            } else if let Some(rest) = line.strip_prefix("stack depth ") {
                log.stack = rest.split('+').filter_map(|n| n.parse().ok()).collect();
            } else if !line.is_empty() && log.last.len() < REASONS {
                log.last.push(line.to_owned());
            }
        }
        log
    }

    /// Returns the visits of an instruction.
    pub(crate) fn visits(&self, instruction: usize) -> u64 {
        self.visits.get(instruction).copied().unwrap_or(0)
    }

    /// Returns the number of visits that the log shows.
    pub(crate) fn total(&self) -> u64 {
        self.visits.iter().sum()
    }
}

/// Returns the number of the instruction that a line says to be visited.
fn visited(line: &[u8]) -> Option<usize> {
    if let Some(known) = line.strip_suffix(b": safe") {
        // `from 8 to 12`, or `from 8 to 12 (speculative execution)`, or `12`.
        let known = str::from_utf8(known).ok()?;
        let to = known.split_once(" to ").map_or(known, |(_, to)| to);
        return to.split(' ').next()?.parse().ok();
    }
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = line.split_at(digits);
    let is_opcode = matches!(rest, [b':', b' ', b'(', a, b, b')', ..]
        if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    if !is_opcode {
        return None;
    }
    str::from_utf8(number).ok()?.parse().ok()
}

fn first_number(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a log of kernel 6.18.
    const NEW: &str = "\
func#0 @0
func#1 @6
Live regs before insn:
      0: .1........ (bf) r6 = r1
0: R1=ctx() R10=fp0
; let size = frame.size(); @ frame.rs:52
0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()
1: (85) call pc+4
caller:
 R6=ctx() R10=fp0
callee:
 frame1: R1=ctx() R10=fp0
6: frame1: R1=ctx() R10=fp0
6: (18) r1 = 0xffff888104ea8000       ; frame1: R1=map_ptr(map=CONFIG,ks=4,vs=256)
8: (95) exit
from 8 to 2: R0=scalar() R6=ctx() R10=fp0
mark_precise: frame0: last_idx 2 first_idx 0 subseq_idx -1
mark_precise: frame0: regs=r0 stack= before 1: (85) call pc+4
2: (95) exit

from 2 to 6: safe
from 2 to 8 (speculative execution): safe
2: safe
verification time 812 usec
stack depth 16+64
processed 8 insns (limit 1000000) max_states_per_insn 1 total_states 2 peak_states 2 mark_read 0
";

    /// Lines of a log of kernel 6.1.
    const REFUSED: &str = "\
0: R1=ctx(off=0,imm=0) R10=fp0
; frame.rs:52
0: (bf) r6 = r1                       ; R1=ctx(off=0,imm=0) R6_w=ctx(off=0,imm=0)
last_idx 0 first_idx 0
regs=40 stack=0 before 0: (bf) r6 = r1
1: (71) r7 = *(u8 *)(r7 +0)
R7 !read_ok
verification time 9 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn only_visits_are_counted() {
        let log = Log::read(NEW.as_bytes());
        // Instruction 7 is the second half of the load.
        assert_eq!(log.visits, [1, 1, 2, 0, 0, 0, 2, 0, 2]);
        assert_eq!(log.processed, Some(log.total()));
        assert_eq!(log.stack, [16, 64]);
        assert_eq!(log.microseconds, Some(812));
    }

    #[test]
    fn an_instruction_is_visited_more_than_once() {
        let again = format!("{NEW}0: (bf) r6 = r1\n");
        assert_eq!(Log::read(again.as_bytes()).visits[0], 2);
    }

    #[test]
    fn the_lines_after_the_last_visit_say_why_a_program_is_refused() {
        let log = Log::read(REFUSED.as_bytes());
        assert_eq!(log.visits, [1, 1]);
        assert_eq!(log.last, ["R7 !read_ok"]);
        assert_eq!(log.processed, Some(2));
    }

    #[test]
    fn a_log_that_is_cut_has_no_number_of_its_own() {
        let (cut, _) = NEW.split_once("verification").unwrap();
        let mut cut = cut.as_bytes().to_vec();
        cut.extend([0; 4096]);
        let log = Log::read(&cut);
        assert_eq!((log.total(), log.processed), (8, None));
        assert_eq!(Log::read(b""), Log::default());
    }
}
