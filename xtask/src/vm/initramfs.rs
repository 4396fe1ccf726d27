//! Initial file system of a kernel: an archive in the format of `cpio --format=newc`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::root::Root;

/// Mode of a directory.
const DIRECTORY: u32 = 0o040_755;
/// Mode of an executable file.
const PROGRAM: u32 = 0o100_755;

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    paths: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a directory and its parents.
    pub(crate) fn directory(&mut self, path: &Path) {
        if path == Path::new("/") || !self.paths.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(path, DIRECTORY, &[]);
    }

    /// Adds an executable file, unless the archive has a file at this path.
    pub(crate) fn file(&mut self, path: &Path, contents: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        if self.paths.insert(path.to_owned()) {
            self.entry(path, PROGRAM, contents);
        }
    }

    /// Adds a copy of a file of this machine.
    pub(crate) fn copy(&mut self, path: &Path, from: &Path) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, &contents);
        Ok(())
    }

    /// Adds a program with its libraries, which it finds in a root.
    pub(super) fn program(&mut self, path: &Path, from: &Path, root: &Root) -> Result<()> {
        self.copy(path, from)?;
        if from.extension().is_some_and(|extension| extension == "o") {
            // Kernel programs have no libraries.
            return Ok(());
        }
        for (path, library) in root.libraries(from)? {
            self.copy(&path, &library)?;
        }
        Ok(())
    }

    /// Ends the archive and returns its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    /// Appends a header (`man 5 cpio`, new ASCII format), the path and the contents.
    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8]) {
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        let fields = [
            self.paths.len(), // inode: any number that no other file has
            mode as usize,
            0, // owner
            0, // group
            1, // links
            0, // time of change
            contents.len(),
            0, // device, of four fields
            0,
            0,
            0,
            name.len() + 1,
            0, // checksum
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    /// Pads with zeros to a multiple of four bytes.
    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_directories_come_first() {
        let mut archive = Initramfs::default();
        archive.file(Path::new("/bin/one"), b"12345");
        archive.file(Path::new("/bin/one"), b"another");
        archive.file(Path::new("/bin/two"), b"");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).unwrap();
        let starts: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        let names = ["bin\0", "bin/one\0", "bin/two\0", "TRAILER!!!\0"];
        for (at, name) in starts.iter().zip(names) {
            assert!(text[at + 110..].starts_with(name), "{name}");
        }
        assert!(text.contains("12345\0\0\x00070701"));
    }
}
