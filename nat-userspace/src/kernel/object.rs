//! Where the kernel programs come from: embedded at build time, or a file.

use std::{borrow::Cow, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

/// The object that `build.rs` embedded, if it was given one.
#[cfg(embedded_object)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/sipnat.bpf.o"
)));
#[cfg(not(embedded_object))]
const EMBEDDED: Option<&[u8]> = None;

/// Whether this build carries the kernel programs.
#[must_use]
pub const fn is_embedded() -> bool {
    EMBEDDED.is_some()
}

/// The ELF object with the kernel programs: that of `file` if given, else the embedded one.
///
/// # Errors
/// If the file cannot be read, or there is neither.
pub fn read(file: Option<&Path>) -> Result<Cow<'static, [u8]>> {
    let Some(path) = file else {
        return EMBEDDED.map(Cow::Borrowed).context(
            "this sipnat was built without its kernel programs; build it with `cargo xtask build`, \
             or name an object with --bpf-object FILE",
        );
    };
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.starts_with(b"\x7fELF"),
        "{} is not an ELF object",
        path.display()
    );
    Ok(Cow::Owned(bytes))
}
