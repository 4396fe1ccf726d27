//! Kernels of Debian to test on, unpacked and kept in the cache.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::{debian::Archive, tools};

/// A series of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// The oldest that sipnat supports: no may_goto, no tcx
    #[value(name = "6.1")]
    V6_1,
    /// Both may_goto and tcx
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The release of Debian that has it.
    const fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
        }
    }

    /// Modules that other kernels do not have, or not as modules.
    const fn modules(self) -> &'static [&'static str] {
        match self {
            // Named counters of nft, later a part of nf_tables.
            Self::V6_1 => &["nft_objref"],
            Self::V6_12 => &[],
        }
    }
}

/// For virtual machines, and therefore small; with BTF, JIT and pktgen.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// The first process is a shell script.
const SHELL: &str = "busybox-static";

/// What the tests need of a kernel, and what is not in the kernel itself. No module is loaded by need: nobody in there
/// knows which file it is.
const MODULES: [&str; 16] = [
    "veth",
    "bridge",
    // Kernels before 6.6 attach by these.
    "sch_ingress",
    "cls_bpf",
    "pktgen",
    // The lab's routers and ISP.
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nf_conntrack_netlink",
    // The lab's ALG.
    "nft_compat",
    "xt_NFQUEUE",
    "xt_tcpudp",
    "nfnetlink_queue",
    // `tc filter ... bpf` of others, in the tests of the agent.
    "act_bpf",
];

/// A kernel and what it takes to boot it.
pub(crate) struct Image(PathBuf);

impl Image {
    /// The kernel of that series: from the cache, or else from Debian.
    pub(crate) fn of(series: Series) -> Result<Self> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "kernels to test on are x86-64, and this machine is not"
        );
        let cache = tools::cache()?;
        let directory = cache.join(format!("kernel-{}", series.name()));
        if !directory.exists() {
            let partial = cache.join(format!("kernel-{}.partial", series.name()));
            // Not there is as good as removed.
            let _ = fs::remove_dir_all(&partial);
            fetch(series, &partial)?;
            fs::rename(&partial, &directory)?;
        }
        Ok(Self(directory))
    }

    /// The kernel itself.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// A shell that needs no library.
    pub(crate) fn shell(&self) -> PathBuf {
        self.0.join("busybox")
    }

    /// The modules, in an order in which they can be loaded.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let order = fs::read_to_string(self.0.join("modules"))?;
        Ok(order.lines().map(|name| self.0.join(name)).collect())
    }
}

fn fetch(series: Series, into: &Path) -> Result<()> {
    eprintln!(
        "kernel {} is fetched from Debian, once: {}",
        series.name(),
        into.with_extension("").display()
    );
    let archive = Archive::open(series.suite(), &into.join("apt"))?;
    let package = archive.brought_by(PACKAGE)?;
    let unpacked = into.join("unpacked");
    archive.unpack(&package, &unpacked)?;
    archive.unpack(SHELL, &unpacked)?;
    let release = package.trim_start_matches("linux-image-");
    let kernel = unpacked.join(format!("boot/vmlinuz-{release}"));
    let shell = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let shell = shell.iter().find(|path| path.exists());
    let shell = shell.with_context(|| format!("no program in {SHELL}"))?;
    fs::copy(&kernel, into.join("vmlinuz")).with_context(|| format!("no {}", kernel.display()))?;
    fs::copy(shell, into.join("busybox"))?;
    modules(series, &unpacked, into).with_context(|| format!("modules of {package}"))?;
    fs::remove_dir_all(unpacked)?;
    fs::remove_dir_all(into.join("apt"))?;
    Ok(())
}

/// All files below a directory, through no link.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Copies what is needed of the modules, and writes down in which order it is loaded.
fn modules(series: Series, unpacked: &Path, into: &Path) -> Result<()> {
    let files = files(unpacked)?;
    let all = files.iter().filter_map(|path| {
        let file = path.file_name()?.to_str()?;
        let (name, _) = file.split_once(".ko")?;
        Some((name.replace('-', "_"), path.as_path()))
    });
    let all: BTreeMap<String, &Path> = all.collect();
    let mut order = Vec::new();
    for name in MODULES.iter().chain(series.modules()) {
        load(name, &all, into, &mut order)?;
    }
    let order: String = order.iter().map(|name| format!("{name}.ko\n")).collect();
    fs::write(into.join("modules"), order)?;
    Ok(())
}

/// Those that it depends on come first.
fn load(
    name: &str,
    all: &BTreeMap<String, &Path>,
    into: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    if order.iter().any(|known| known == name) {
        return Ok(());
    }
    let path = all.get(name).with_context(|| format!("no {name}"))?;
    let module = if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output()?;
        ensure!(output.status.success(), "xz cannot read {}", path.display());
        output.stdout
    } else {
        fs::read(path)?
    };
    for needed in dependencies(&module) {
        load(&needed, all, into, order)?;
    }
    fs::write(into.join(format!("{name}.ko")), module)?;
    order.push(name.to_owned());
    Ok(())
}

/// A module says in its section .modinfo what it depends on, and the package has no list of that.
fn dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module
        .windows(FIELD.len())
        .position(|window| window == FIELD)
    else {
        return Vec::new();
    };
    let names = module[at + FIELD.len()..].split(|byte| *byte == 0).next();
    let names = String::from_utf8_lossy(names.unwrap_or_default());
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read() {
        let module = b"\x7fELF\0license=GPL\0depends=nf-tables,nf_nat\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["nf_tables", "nf_nat"]);
        assert_eq!(dependencies(b"\x7fELF\0depends=\0name=veth\0"), [""; 0]);
        assert_eq!(dependencies(b"\x7fELF"), [""; 0]);
    }
}
