//! Debian's kernels to test on, unpacked and kept in the cache.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::{architecture::Architecture, tools};

use super::debian::Archive;

/// A series of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// Oldest kernel that sipnat supports: no may_goto, no tcx
    #[value(name = "6.1")]
    V6_1,
    /// Kernel with both may_goto and tcx
    #[value(name = "6.12")]
    V6_12,
    /// The same on 64-bit ARM, as in a Raspberry Pi
    #[value(name = "6.12-arm64")]
    V6_12Arm64,
}

impl Series {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_12Arm64 => "6.12-arm64",
        }
    }

    /// Architecture of the virtual machine.
    pub(super) const fn architecture(self) -> Architecture {
        match self {
            Self::V6_1 | Self::V6_12 => Architecture::X86_64,
            Self::V6_12Arm64 => Architecture::Aarch64,
        }
    }

    /// Whether TC programs attach by links (tcx, 6.6). Else they are filters of a clsact qdisc.
    pub(super) const fn has_tcx(self) -> bool {
        !matches!(self, Self::V6_1)
    }

    /// Debian release with this kernel.
    const fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 | Self::V6_12Arm64 => "trixie",
        }
    }

    /// Modules that only this series needs.
    const fn modules(self) -> &'static [&'static str] {
        match self {
            // nft's named counters; later kernels have them in nf_tables.
            Self::V6_1 => &["nft_objref"],
            Self::V6_12 | Self::V6_12Arm64 => &[],
        }
    }
}

/// Shell for the init process, which is a script.
const SHELL: &str = "busybox-static";

/// Modules that the tests need. The init script loads all of them, because the virtual machine has no list of module files
/// from which it could load one on demand.
const MODULES: [&str; 16] = [
    "veth",
    "bridge",
    // Without tcx, so before 6.6, TC programs attach with these.
    "sch_ingress",
    "cls_bpf",
    "pktgen",
    // NAT routers and ISP of the lab.
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nf_conntrack_netlink",
    // ALG of the lab.
    "nft_compat",
    "xt_NFQUEUE",
    "xt_tcpudp",
    "nfnetlink_queue",
    // `tc filter ... bpf` of other programs than sipnat, in the agent's tests.
    "act_bpf",
];

/// Directory of an unpacked kernel, its modules and a shell.
pub(crate) struct Image(PathBuf);

impl Image {
    /// Returns the kernel of a series from the cache, or else fetches it from Debian.
    pub(crate) fn of(series: Series) -> Result<Self> {
        let cache = tools::cache()?;
        let directory = cache.join(format!("kernel-{}", series.name()));
        if !directory.exists() {
            let partial = cache.join(format!("kernel-{}.partial", series.name()));
            // An error means that there is nothing to remove.
            let _ = fs::remove_dir_all(&partial);
            fetch(series, &partial)?;
            fs::rename(&partial, &directory)?;
        }
        Ok(Self(directory))
    }

    /// Path of the kernel.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// Path of a static shell.
    pub(crate) fn shell(&self) -> PathBuf {
        self.0.join("busybox")
    }

    /// Paths of the modules, each after those that it depends on.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let order = fs::read_to_string(self.0.join("modules"))?;
        Ok(order.lines().map(|name| self.0.join(name)).collect())
    }
}

/// Fetches a kernel and a shell from Debian into a directory.
fn fetch(series: Series, into: &Path) -> Result<()> {
    eprintln!(
        "fetching kernel {} from Debian, once: {}",
        series.name(),
        into.with_extension("").display()
    );
    let architecture = series.architecture();
    let archive = Archive::open(series.suite(), architecture, &into.join("apt"))?;
    // Kernel for virtual machines: small, with BTF, JIT and pktgen.
    let package = format!("linux-image-cloud-{}", architecture.debian());
    let package = archive.dependency(&package)?;
    let unpacked = into.join("unpacked");
    archive.unpack(&package, &unpacked)?;
    archive.unpack(SHELL, &unpacked)?;
    let release = package.trim_start_matches("linux-image-");
    let kernel = unpacked.join(format!("boot/vmlinuz-{release}"));
    let shell = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let shell = shell.iter().find(|path| path.exists());
    let shell = shell.with_context(|| format!("no busybox in {SHELL}"))?;
    fs::copy(&kernel, into.join("vmlinuz")).with_context(|| format!("no {}", kernel.display()))?;
    fs::copy(shell, into.join("busybox"))?;
    modules(series, &unpacked, into).with_context(|| format!("modules of {package}"))?;
    fs::remove_dir_all(unpacked)?;
    fs::remove_dir_all(into.join("apt"))?;
    Ok(())
}

/// Returns all files below a directory. Does not follow links.
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

/// Copies the needed modules, and writes their load order to the file `modules`.
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
        add(name, &all, into, &mut order)?;
    }
    let order: String = order.iter().map(|name| format!("{name}.ko\n")).collect();
    fs::write(into.join("modules"), order)?;
    Ok(())
}

/// Copies a module after its dependencies, and appends their names to the load order.
fn add(
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
        add(&needed, all, into, order)?;
    }
    fs::write(into.join(format!("{name}.ko")), module)?;
    order.push(name.to_owned());
    Ok(())
}

/// Names of modules that a module depends on, from its section .modinfo. The package has no list of dependencies.
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
