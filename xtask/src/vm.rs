//! Tests on another kernel, in a virtual machine of which every instruction is emulated: that needs no hardware, and
//! nobody's leave.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    build, command,
    image::{Image, Series},
    initramfs::Initramfs,
    packages::{self, Install, Program},
    summary::Outcome,
    workspace::Workspace,
};

const EMULATOR: Program = Program::new(
    "qemu-system-x86_64",
    "qemu-system-x86",
    "runs another kernel",
);

/// Programs of this machine that tests use in there.
const PROGRAMS: [&str; 5] = ["ip", "tc", "nft", "iptables", "sipp"];
/// What iptables loads for the rules of the lab.
const EXTENSIONS: [&str; 2] = ["libxt_NFQUEUE.so", "libxt_udp.so"];
const EXTENSIONS_IN: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// The test binaries.
const TESTS: [&str; 2] = ["test_run", "lab"];
/// What is run in there, and by what name.
const STEPS: &str = "\
test-run /usr/bin/test_run --show-output
agent /usr/bin/lab agent::ready agent::one_agent agent::a_driver agent::the_clsact agent::what_was_kept agent::a_new agent::detach
slide /usr/bin/lab slide::
";

/// All is over long before, and what hangs is ended.
const LIMIT: &str = "600";
/// What the first process says at the very end.
const END: &str = "vm: all done";

/// Builds everything, and runs the tests on each kernel.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    kernels: &[Series],
) -> Vec<(&'static str, Outcome)> {
    let start = Instant::now();
    let built = build(workspace, install).map_err(|error| format!("{error:#}"));
    let built_in = start.elapsed();
    let test = &|series: Series| {
        let start = Instant::now();
        let mut outcome = match &built {
            Ok(programs) => run(workspace, series, programs)
                .unwrap_or_else(|error| Outcome::failed(&format!("{error:#}"))),
            Err(error) => Outcome::failed(error),
        };
        outcome.time = built_in + start.elapsed();
        (series.name(), outcome)
    };
    // All at once: they wait as much as they compute.
    thread::scope(|scope| {
        let threads: Vec<_> = kernels
            .iter()
            .map(|&series| scope.spawn(move || test(series)))
            .collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect()
    })
}

/// The agent and the test binaries, each with the path that it gets in there.
fn build(workspace: &Workspace, install: Install) -> Result<Vec<(PathBuf, PathBuf)>> {
    packages::ensure(&packages::LAB, install)?;
    packages::ensure(&[EMULATOR], install)?;
    let object = build::kernel_programs(workspace, install)?;
    let agent = build::agent(workspace, &object)?;
    let mut cargo = workspace.cargo("test");
    cargo
        .args(["--no-run", "--release", "--package=nat-tests"])
        .args(["--test=test_run", "--test=lab", "--message-format=json"])
        .env(build::OBJECT, &object)
        .stderr(Stdio::inherit());
    eprintln!("$ {}", command::line(&cargo));
    let mut programs = vec![("/usr/bin/sipnat".into(), agent)];
    let built = executables(&command::output(&mut cargo)?);
    for name in TESTS {
        let binary = built.iter().find(|(built, _)| built == name);
        let (_, binary) = binary.with_context(|| format!("cargo did not build {name}"))?;
        programs.push((Path::new("/usr/bin").join(name), binary.clone()));
    }
    Ok(programs)
}

/// What cargo says that it has built, of what can be run.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let built = messages.lines().filter_map(|line| {
        let message: Message = serde_json::from_str(line).ok()?;
        Some((message.target?.name, message.executable?))
    });
    built.collect()
}

fn run(workspace: &Workspace, series: Series, programs: &[(PathBuf, PathBuf)]) -> Result<Outcome> {
    let image = Image::of(series)?;
    let files = workspace
        .target
        .join(format!("kernel-{}.cpio", series.name()));
    fs::write(&files, initramfs(workspace, &image, programs)?.finish())?;

    let mut emulator = Command::new("timeout");
    emulator
        .args(["--signal=KILL", LIMIT, EMULATOR.name()])
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        // With cmpxchg16b qemu 7.2 leaves garbage in the flags, and the kernel's allocator of 6.12 falls over it.
        // Without the other two the kernel copies memory by what is not emulated byte by byte: a fifth less time.
        .args(["-cpu", "max,cx16=off,erms=off,fsrm=off"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel"])
        .arg(image.kernel())
        .arg("-initrd")
        .arg(&files)
        // Whatever goes wrong in the kernel ends it.
        .args(["-append", "console=ttyS0 quiet oops=panic panic=-1"])
        .stdin(Stdio::null());
    let mut outcome = Outcome::default();
    let mut ended = false;
    let result = command::follow(&mut emulator, |line| {
        println!("{}: {line}", series.name());
        outcome.read(line);
        ended |= line == END;
        if let Some(name) = line.strip_prefix("vm: failed ") {
            outcome.fail(name);
        }
    });
    fs::remove_file(&files)?;
    if let Err(error) = result {
        outcome.fail(&format!("{error:#}"));
    }
    if !ended {
        outcome.fail("the kernel did not come to the end");
    }
    Ok(outcome)
}

fn initramfs(
    workspace: &Workspace,
    image: &Image,
    programs: &[(PathBuf, PathBuf)],
) -> Result<Initramfs> {
    let mut files = Initramfs::default();
    for directory in ["/bin", "/dev", "/proc", "/sys", "/run", "/tmp"] {
        files.directory(Path::new(directory));
    }
    files.file(Path::new("/init"), include_bytes!("init.sh"));
    files.file(Path::new("/steps"), STEPS.as_bytes());
    files.copy(Path::new("/bin/busybox"), &image.shell())?;
    let mut order = String::new();
    for module in image.modules()? {
        let name = module.file_name().context("a module without a name")?;
        files.copy(&Path::new("/modules").join(name), &module)?;
        order.push_str(&format!("{}\n", name.display()));
    }
    files.file(Path::new("/modules/order"), order.as_bytes());
    // Tests look for it from the directory of their crate.
    files.directory(&workspace.root.join("tests"));
    for input in fs::read_dir(workspace.root.join("fuzz/corpus/stun"))? {
        let input = input?.path();
        files.copy(&input, &input)?;
    }
    for (path, binary) in programs {
        files.program(path, binary)?;
    }
    for name in PROGRAMS {
        let program = packages::find(name).with_context(|| format!("no {name}"))?;
        files.program(&Path::new("/usr/bin").join(name), &program)?;
    }
    for name in EXTENSIONS {
        let extension = Path::new(EXTENSIONS_IN).join(name);
        files.program(&extension, &extension)?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_names_what_it_has_built() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"aya"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lab"},"executable":"/t/release/deps/lab-1f"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executables(messages),
            [("lab".into(), "/t/release/deps/lab-1f".into())]
        );
    }
}
