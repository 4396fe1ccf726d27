//! Files that the programs of a virtual machine come from: this machine's, or unpacked packages of another architecture.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader64, PT_INTERP},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use super::debian::Archive;
use crate::{architecture::Architecture, packages, tools};

/// Debian release of the packages: no older than the C library that links the tests.
const SUITE: &str = "trixie";
/// Packages of the programs that tests run.
const PACKAGES: [&str; 4] = ["iproute2", "iptables", "nftables", "sip-tester"];
/// Folders that Debian's base-files makes links to those of the same name below usr.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];
/// Folders with programs, below the root.
const PROGRAMS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// Root of a file system, `/` for this machine's.
pub(super) struct Root {
    folder: PathBuf,
    architecture: Architecture,
}

impl Root {
    /// Returns the root for an architecture. Fetches its packages from Debian if it is not this machine's.
    pub(super) fn of(architecture: Architecture) -> Result<Self> {
        let folder = if architecture == Architecture::HOST {
            "/".into()
        } else {
            unpacked(architecture)?
        };
        Ok(Self {
            folder,
            architecture,
        })
    }

    /// Path of a program.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf> {
        let found = if self.architecture == Architecture::HOST {
            packages::find(name)
        } else {
            let mut paths = PROGRAMS.iter().map(|it| self.folder.join(it).join(name));
            paths.find(|path| path.exists())
        };
        found.with_context(|| format!("no {name} in {}", self.folder.display()))
    }

    /// Path of a file, and its path below this root.
    pub(super) fn file(&self, path: &str) -> (PathBuf, PathBuf) {
        let below = path.trim_start_matches('/');
        (Path::new("/").join(below), self.folder.join(below))
    }

    /// Libraries that a program needs, and its loader: their paths for it, and here.
    pub(super) fn libraries(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut known = BTreeSet::new();
        let mut found = Vec::new();
        let mut open = vec![program.to_owned()];
        while let Some(file) = open.pop() {
            let needed = Needed::of(&file)?;
            if let Some(loader) = needed.loader {
                found.push(self.file(&loader));
            }
            for name in needed.libraries {
                if known.insert(name.clone()) {
                    let library = self
                        .library(&name)
                        .with_context(|| format!("{}: no library {name}", file.display()))?;
                    open.push(library.1.clone());
                    found.push(library);
                }
            }
        }
        Ok(found)
    }

    /// Searches the folders of the loader for a library.
    fn library(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let own = self.architecture.libraries();
        let folders = [
            &format!("lib/{own}"),
            &format!("usr/lib/{own}"),
            "lib64",
            "usr/lib64",
            "lib",
            "usr/lib",
            "usr/local/lib",
        ];
        let mut files = folders
            .iter()
            .map(|folder| self.file(&format!("{folder}/{name}")));
        files.find(|(_, here)| here.exists())
    }
}

/// Returns the folder with the packages of another architecture, from the cache, or else from Debian.
fn unpacked(architecture: Architecture) -> Result<PathBuf> {
    let name = format!("programs-{}", architecture.debian());
    let folder = tools::cache()?.join(&name);
    if !folder.exists() {
        eprintln!(
            "fetching {} of {} from Debian, once: {}",
            PACKAGES.join(", "),
            architecture.debian(),
            folder.display()
        );
        let partial = folder.with_file_name(format!("{name}.partial"));
        // An error means that there is nothing to remove.
        let _ = fs::remove_dir_all(&partial);
        let archive = Archive::open(SUITE, architecture, &partial.join("apt"))?;
        let root = partial.join("root");
        archive.unpack_with_dependencies(&PACKAGES, &root)?;
        for name in MERGED {
            if !root.join(name).exists() {
                symlink(Path::new("usr").join(name), root.join(name))?;
            }
        }
        fs::rename(root, &folder)?;
        fs::remove_dir_all(&partial)?;
    }
    Ok(folder)
}

/// Names in a program or library of what it needs.
#[derive(Debug, Default, PartialEq)]
struct Needed {
    /// Path of the loader, in a program.
    loader: Option<String>,
    libraries: Vec<String>,
}

impl Needed {
    /// Reads an ELF file of 64 bits.
    fn of(path: &Path) -> Result<Self> {
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::read(&data).with_context(|| format!("{} is no program", path.display()))
    }

    fn read(data: &[u8]) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let mut needed = Self::default();
        for segment in header.program_headers(endian, data)? {
            if segment.p_type(endian) == PT_INTERP
                && let Ok(path) = segment.data(endian, data)
            {
                needed.loader = Some(text(path));
            }
        }
        let sections = header.sections(endian, data)?;
        if let Some((entries, link)) = sections.dynamic(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            for entry in entries {
                if entry.d_tag(endian) == DT_NEEDED {
                    needed.libraries.push(text(entry.string(endian, strings)?));
                }
            }
        }
        Ok(needed)
    }
}

/// Text without the zero at its end.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').into()
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn a_program_needs_its_loader_and_the_c_library() {
        let this = env::current_exe().unwrap();
        let needed = Needed::of(&this).unwrap();
        assert!(needed.loader.unwrap().contains("ld-linux"));
        assert!(needed.libraries.contains(&"libc.so.6".into()));
        let root = Root::of(Architecture::HOST).unwrap();
        let found = root.libraries(&this).unwrap();
        assert!(
            found
                .iter()
                .all(|(there, here)| there == here && here.exists())
        );
        assert!(found.iter().any(|(there, _)| there.ends_with("libc.so.6")));
        assert!(Needed::read(b"#!/bin/sh\n").is_err());
    }
}
