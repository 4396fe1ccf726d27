//! Maps by system calls that aya does not make: values as bytes, and maps that this user may only read.

use std::{
    ffi::{CString, c_long},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapData, MapError, MapType},
    sys::SyscallError,
};
use nat_common::abi::Config;
use nix::errno::Errno;

/// Attributes of BPF_OBJ_GET, from linux/bpf.h.
#[repr(C)]
struct Open {
    path: u64,
    padding: u32,
    flags: u32,
}

/// Attributes of BPF_MAP_LOOKUP_ELEM, from linux/bpf.h.
#[repr(C)]
struct Lookup {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads the first value of an array.
///
/// # Errors
/// If the map is no array, or cannot be read.
pub(super) fn first_value(map: &MapData) -> Result<Vec<u8>> {
    let info = map.info()?;
    let is_array = matches!(info.map_type(), Ok(MapType::Array));
    ensure!(is_array && info.key_size() == 4, "not an array");
    // The kernel writes whole words.
    let mut value = vec![0; (info.value_size() as usize).next_multiple_of(8)];
    // SAFETY: the value is as long as those of the array.
    unsafe { value_at(map, 0, value.as_mut_ptr()) }.context("cannot read a map")?;
    value.truncate(info.value_size() as usize);
    Ok(value)
}

/// Copies a value of an array.
///
/// # Safety
/// The map is an array, and its values fit in what `to` points to, in whole words.
pub(super) unsafe fn value_at(map: &MapData, index: u32, to: *mut u8) -> nix::Result<()> {
    const BPF_MAP_LOOKUP_ELEM: c_long = 1;
    let mut lookup = Lookup {
        map: map.fd().as_fd().as_raw_fd() as u32,
        padding: 0,
        key: (&raw const index).addr() as u64,
        value: to.addr() as u64,
        flags: 0,
    };
    // SAFETY: the attributes are those of the command; key and value have the sizes that the map has.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut lookup) }.map(drop)
}

/// Calls bpf(2).
///
/// # Safety
/// The attributes are those of the command, and the kernel may access what they point to as it does then.
pub(super) unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> nix::Result<c_long> {
    // SAFETY: the caller's.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    Errno::result(done)
}

/// Opens a pinned map for reading, as a member of its group may.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn open_for_reading(pin: &Path) -> Result<OwnedFd, MapError> {
    const BPF_OBJ_GET: c_long = 7;
    const BPF_F_RDONLY: u32 = 1 << 3;
    let failed = |errno: Errno| {
        MapError::SyscallError(SyscallError {
            call: "BPF_OBJ_GET",
            io_error: io::Error::from(errno),
        })
    };
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let mut open = Open {
        path: path.as_ptr().addr() as u64,
        padding: 0,
        flags: BPF_F_RDONLY,
    };
    // SAFETY: the attributes are those of the command, and the path ends with a zero byte.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut open) }.map_err(failed)?;
    // SAFETY: the kernel has made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns the number of the layout in a value of `CONFIG` of any version.
pub(super) fn abi(config: &[u8]) -> Option<u32> {
    let bytes = config.get(Config::ABI_OFFSET..Config::ABI_OFFSET + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
