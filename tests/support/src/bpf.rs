//! bpf(2), for what aya does not do.

use std::{
    ffi::c_long,
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use nix::{errno::Errno, libc};

/// Calls bpf(2) for a new file descriptor.
///
/// # Errors
/// If the kernel refuses.
///
/// # Safety
/// As for [`call`], and the command returns a file descriptor.
pub unsafe fn make<T>(command: c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let made = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel has just made it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(made as i32) })
}

/// Calls bpf(2).
///
/// # Errors
/// If the kernel refuses.
///
/// # Safety
/// The attributes are those of the command, which writes to none of them, and what they point to outlives the call.
pub unsafe fn call<T>(command: c_long, attributes: &T) -> io::Result<c_long> {
    // SAFETY: the caller's.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    Ok(Errno::result(done)?)
}
