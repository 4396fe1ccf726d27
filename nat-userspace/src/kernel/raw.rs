//! Values of maps whose types are unknown, as bytes.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapType};
use nat_common::abi::Config;
use nix::errno::Errno;

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
    const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
    let info = map.info()?;
    let is_array = matches!(info.map_type(), Ok(MapType::Array));
    ensure!(is_array && info.key_size() == 4, "not an array");
    // The kernel writes whole words.
    let mut value = vec![0; (info.value_size() as usize).next_multiple_of(8)];
    let key = 0_u32;
    let lookup = Lookup {
        map: map.fd().as_fd().as_raw_fd() as u32,
        padding: 0,
        key: (&raw const key).addr() as u64,
        value: value.as_mut_ptr().addr() as u64,
        flags: 0,
    };
    // SAFETY: the attributes are those of the command; key and value have the sizes that the map has.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_ELEM,
            &raw const lookup,
            size_of::<Lookup>(),
        )
    };
    Errno::result(done).context("cannot read a map")?;
    value.truncate(info.value_size() as usize);
    Ok(value)
}

/// Returns the number of the layout in a value of `CONFIG` of any version.
pub(super) fn abi(config: &[u8]) -> Option<u32> {
    let bytes = config.get(Config::ABI_OFFSET..Config::ABI_OFFSET + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
