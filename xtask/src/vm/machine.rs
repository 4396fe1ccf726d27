//! An emulated machine: boots a kernel whose init script runs some steps.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{architecture::Architecture, command, packages::Program, workspace::Workspace};

use super::{
    image::{Image, Series},
    initramfs::Initramfs,
    root::Root,
};

/// Emulator of an architecture.
pub(super) const fn emulator(architecture: Architecture) -> Program {
    let (name, package) = match architecture {
        Architecture::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Architecture::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
    };
    Program::new(name, package, "runs another kernel")
}

/// Arguments of the emulator that say which machine it is, and the kernel's name of its serial port.
const fn hardware(architecture: Architecture) -> (&'static [&'static str], &'static str) {
    match architecture {
        // cx16=off: cmpxchg16b of qemu 7.2 leaves wrong flags, and the allocator of kernel 6.12 crashes.
        // erms=off and fsrm=off: otherwise the kernel copies with instructions that qemu emulates byte by byte.
        // This saves a fifth of the time.
        Architecture::X86_64 => (&["-cpu", "max,cx16=off,erms=off,fsrm=off"], "ttyS0"),
        // Pointer authentication by the architecture's own cipher would take most of the time.
        Architecture::Aarch64 => (
            &["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
            "ttyAMA0",
        ),
    }
}

/// Seconds until an emulator that hangs is killed. The tests take half of it on two busy cores.
const LIMIT: &str = "1500";
/// Last line of the init script.
const END: &str = "vm: all done";

/// Pairs of a path in the virtual machine and a file of this machine. Libraries of the file are added.
pub(super) type Programs = Vec<(PathBuf, PathBuf)>;

/// Boots a kernel that runs the steps, and passes each line of its console to `read`.
///
/// Each step is a line with a name and a command. Returns whether the init script came to its end.
pub(super) fn run(
    workspace: &Workspace,
    series: Series,
    programs: &Programs,
    steps: &str,
    mut read: impl FnMut(&str),
) -> Result<bool> {
    let image = Image::of(series)?;
    let files = workspace
        .target
        .join(format!("kernel-{}.cpio", series.name()));
    fs::write(
        &files,
        initramfs(workspace, series, &image, programs, steps)?.finish(),
    )?;

    let (hardware, console) = hardware(series.architecture());
    let mut emulator = Command::new("timeout");
    emulator
        .args(["--signal=KILL", LIMIT])
        .arg(self::emulator(series.architecture()).name())
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        .args(hardware)
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel"])
        .arg(image.kernel())
        .arg("-initrd")
        .arg(&files)
        // An oops becomes a panic, and a panic reboots, which ends the emulator.
        .arg("-append")
        .arg(format!("console={console} quiet oops=panic panic=-1"))
        .stdin(Stdio::null());
    let mut ended = false;
    let result = command::follow(&mut emulator, |line| {
        read(line);
        ended |= line == END;
    });
    fs::remove_file(&files)?;
    result.map(|()| ended)
}

/// Makes the initial file system with programs, modules and steps.
fn initramfs(
    workspace: &Workspace,
    series: Series,
    image: &Image,
    programs: &Programs,
    steps: &str,
) -> Result<Initramfs> {
    let mut files = Initramfs::default();
    for directory in ["/bin", "/dev", "/proc", "/sys", "/run", "/tmp"] {
        files.directory(Path::new(directory));
    }
    files.file(Path::new("/init"), include_bytes!("init.sh"));
    files.file(Path::new("/steps"), steps.as_bytes());
    files.copy(Path::new("/bin/busybox"), &image.shell())?;
    let mut order = String::new();
    for module in image.modules()? {
        let name = module.file_name().context("a module without a name")?;
        files.copy(&Path::new("/modules").join(name), &module)?;
        order.push_str(&format!("{}\n", name.display()));
    }
    files.file(Path::new("/modules/order"), order.as_bytes());
    // Tests find the STUN inputs relative to the directory of their crate, which must exist.
    files.directory(&workspace.root.join("tests"));
    for input in fs::read_dir(workspace.root.join("fuzz/corpus/stun"))? {
        let input = input?.path();
        files.copy(&input, &input)?;
    }
    let root = Root::of(series.architecture())?;
    for (path, program) in programs {
        files.program(path, program, &root)?;
    }
    Ok(files)
}
