//! The object file with the kernel programs: embedded at build time, or read from a file.

use std::{
    borrow::Cow,
    env,
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

/// The object that `build.rs` embedded, if it was given one.
#[cfg(embedded_object)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/sipnat.bpf.o"
)));
#[cfg(not(embedded_object))]
const EMBEDDED: Option<&[u8]> = None;

/// Largest file that is read. sipnat's own object has less than a megabyte.
const MAX_BYTES: u64 = 64 << 20;

/// Name of the section of an object that relies on the order of reads and writes of x86-64, between zeros as in the table
/// of names.
const FOR_X86_64: &[u8] = b"\0for_x86_64\0";

/// Whether this build carries the kernel programs.
#[must_use]
pub const fn is_embedded() -> bool {
    EMBEDDED.is_some()
}

/// Returns the ELF object with the kernel programs: that of `file` if given, else the embedded one.
///
/// # Errors
/// If the file cannot be read or is not an object, or there is neither.
pub fn read(file: Option<&Path>) -> Result<Cow<'static, [u8]>> {
    let Some(path) = file else {
        let embedded = EMBEDDED.context(
            "this sipnat was built without its kernel programs; build it with `cargo xtask build`, \
             or name an object with --bpf-object FILE",
        )?;
        fits(embedded, env::consts::ARCH).context("the kernel programs in this sipnat")?;
        return Ok(Cow::Borrowed(embedded));
    };
    let name = path.display();
    let cannot_read = || format!("cannot read {name}");
    // Before it is opened: opening a FIFO would wait for a writer.
    let metadata = fs::metadata(path).with_context(cannot_read)?;
    ensure!(metadata.is_file(), "{name} is not a regular file");
    let mut bytes = Vec::new();
    // Files of /proc have no size.
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .with_context(cannot_read)?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{name} is not an ELF object");
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{name} is larger than {} MiB: it is not an object of sipnat",
        MAX_BYTES >> 20
    );
    fits(&bytes, env::consts::ARCH).with_context(|| name.to_string())?;
    Ok(Cow::Owned(bytes))
}

/// Fails if an object relies on x86-64 and the machine is of another architecture.
fn fits(object: &[u8], architecture: &str) -> Result<()> {
    let names = || object.windows(FOR_X86_64.len());
    ensure!(
        architecture == "x86_64" || !names().any(|name| name == FOR_X86_64),
        "built for x86-64, and this machine is {architecture}; build with `cargo xtask build --target \
         {architecture}-unknown-linux-gnu`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> String {
        read(Some(path)).unwrap_err().to_string()
    }

    #[test]
    fn an_object_that_relies_on_x86_64_fits_no_other_machine() {
        let object = b"\x7fELF\0license\0for_x86_64\0maps\0";
        assert!(fits(object, "x86_64").is_ok());
        assert!(fits(b"\x7fELF\0license\0maps\0", "aarch64").is_ok());
        let error = fits(object, "aarch64").unwrap_err().to_string();
        assert!(
            error.contains("--target aarch64-unknown-linux-gnu"),
            "{error}"
        );
        let built = env::var_os("SIPNAT_BPF_OBJECT");
        if let Some(built) = built.map(fs::read) {
            assert_eq!(
                fits(&built.unwrap(), "aarch64").is_err(),
                cfg!(target_arch = "x86_64")
            );
        }
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/zero"), directory.path(), &fifo] {
            let expected = format!("{} is not a regular file", path.display());
            assert_eq!(error(path), expected);
        }
        let large = directory.path().join("large");
        fs::write(&large, b"\x7fELF").unwrap();
        let file = File::options().write(true).open(&large).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(error(&large).contains("larger than 64 MiB"));
        assert!(error(&directory.path().join("none")).starts_with("cannot read "));
    }
}
