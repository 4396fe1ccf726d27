//! Kernel versions that take the loops of the programs, and an object whose faster loops no kernel takes.

use anyhow::{Context as _, Result};
use nat_userspace::{checks::preflight::Kernel, kernel::loops::INGRESS};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// First kernel with `may_goto`.
pub const HAS_MAY_GOTO: Kernel = Kernel(6, 9);

/// First kernel whose verifier is known to accept the programs with `may_goto`. Versions between the two may not end.
pub const TAKES_MAY_GOTO: Kernel = Kernel(6, 12);

/// Reason for which the verifier refuses [`refused`].
pub const REASON: &str = "R3 !read_ok";

/// Returns the object with another first instruction of the program `ingress`, the variant with `may_goto`: it reads from a
/// register that is not set.
///
/// # Errors
/// If the object has no such program.
pub fn refused(bytes: &[u8]) -> Result<Vec<u8>> {
    /// r0 = *(u64 *)(r3 + 0)
    const WRONG: [u8; 8] = [0x79, 0x30, 0, 0, 0, 0, 0, 0];
    let elf = object::File::parse(bytes)?;
    let program = elf
        .symbols()
        .find(|symbol| symbol.name() == Ok(INGRESS))
        .context("no program ingress")?;
    let section = program
        .section_index()
        .context("a program is in a section")?;
    let (start, _) = elf
        .section_by_index(section)?
        .file_range()
        .context("an empty section")?;
    let at = (start + program.address()) as usize;
    let mut bytes = bytes.to_vec();
    bytes[at..at + WRONG.len()].copy_from_slice(&WRONG);
    Ok(bytes)
}
