//! System call bpf(2), for what aya does not offer: the log of a program that the verifier takes.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attr, bpf_cmd};
use nix::{errno::Errno, libc};

use crate::object::Code;

/// A line for each visited instruction, and statistics at the end: `BPF_LOG_LEVEL2 | BPF_LOG_STATS`.
const LEVEL: u32 = 2 | 4;

/// Sizes of the log's buffer, one tried after the other. The last is the largest that kernels take. A page of it needs memory
/// only once the kernel has written to it.
const BUFFERS: [usize; 3] = [64 << 20, 256 << 20, (1 << 30) - 4096];

/// Answer of the verifier.
pub(crate) struct Answer {
    /// Its log, with zeros behind.
    pub(crate) log: Vec<u8>,
    /// Error of the system call, if the verifier refused the program.
    pub(crate) refused: Option<io::Error>,
    /// Whether the log did not fit. What is left are its last lines, or before kernel 6.4 its first.
    pub(crate) is_cut: bool,
}

/// Has the verifier read a program.
///
/// # Errors
/// If the kernel has no verdict: no permission, no memory.
pub(crate) fn verify(program: &Code<'_>, btf: Option<&OwnedFd>) -> Result<Answer> {
    let mut sizes = BUFFERS.into_iter().peekable();
    loop {
        let size = sizes.next().context("no size is left")?;
        let mut log = vec![0; size];
        let result = load(program, btf, &mut log);
        let error = result.err();
        let is_cut = error.as_ref().is_some_and(|e| is(e, Errno::ENOSPC));
        if is_cut && sizes.peek().is_some() {
            continue;
        }
        let errors = [Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE];
        match error {
            Some(error) if log[0] == 0 || errors.iter().any(|errno| is(&error, *errno)) => {
                return Err(error).context(
                    "the kernel has not read the program; be root, and see `ulimit -n` and `free`",
                );
            }
            refused => {
                return Ok(Answer {
                    log,
                    refused,
                    is_cut,
                });
            }
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn load(program: &Code<'_>, btf: Option<&OwnedFd>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let (functions, lines) = (
        program.function.func_info.func_info_bytes(),
        program.function.line_info.line_info_bytes(),
    );
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which every field of this union may be.
    let load = unsafe { &mut attributes.__bindgen_anon_3 };
    load.prog_type = program.kind;
    load.expected_attach_type = program.attach_type;
    load.prog_flags = program.flags;
    load.insns = program.function.instructions.as_ptr() as u64;
    load.insn_cnt = program.function.instructions.len() as u32;
    load.license = program.license.as_ptr() as u64;
    load.log_level = LEVEL;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = log.len() as u32;
    if let Some(btf) = btf {
        load.prog_btf_fd = btf.as_raw_fd() as u32;
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = program.function.func_info.len() as u32;
        load.func_info_rec_size = program.function.func_info_rec_size as u32;
        load.line_info = lines.as_ptr() as u64;
        load.line_info_cnt = program.function.line_info.len() as u32;
        load.line_info_rec_size = program.function.line_info_rec_size as u32;
    }
    call(bpf_cmd::BPF_PROG_LOAD, &mut attributes)
}

/// Hands type information to the kernel.
///
/// # Errors
/// If the kernel refuses it.
pub(crate) fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which every field of this union may be.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = bytes.len() as u32;
    call(bpf_cmd::BPF_BTF_LOAD, &mut attributes)
}

/// Writes the only value of a map of constants, and freezes it: the verifier then knows the constants.
///
/// # Errors
/// If the kernel refuses either.
pub(crate) fn fill(map: impl AsFd, value: &[u8]) -> io::Result<()> {
    let map = map.as_fd().as_raw_fd() as u32;
    let key = 0_u32;
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which every field of this union may be.
    let update = unsafe { &mut attributes.__bindgen_anon_2 };
    update.map_fd = map;
    update.key = (&raw const key) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes)?;
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which every field of this union may be.
    unsafe { &mut attributes.__bindgen_anon_2 }.map_fd = map;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attributes).map(drop)
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of numbers, which may be 0.
    unsafe { mem::zeroed() }
}

/// Calls bpf(2) for a command that returns a descriptor.
fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just made it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: the addresses in the attributes are of memory that lives, and that is as long as they say.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw mut *attributes,
            size_of::<bpf_attr>(),
        )
    };
    Ok(Errno::result(result)? as RawFd)
}
