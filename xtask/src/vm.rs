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

const IP: Program = Program::new("ip", "iproute2", "makes the network namespaces");

/// Programs of this machine that tests use in there, beside that of the benchmarks.
const PROGRAMS: [&str; 4] = ["tc", "nft", "iptables", "sipp"];
/// What iptables loads for the rules of the lab.
const EXTENSIONS: [&str; 2] = ["libxt_NFQUEUE.so", "libxt_udp.so"];
const EXTENSIONS_IN: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// The test binaries.
const TESTS: [&str; 2] = ["test_run", "lab"];
/// What is run in there, and by what name.
const STEPS: &str = "\
test-run /usr/bin/test_run --show-output
agent /usr/bin/lab agent::attach::ready agent::attach::one_agent agent::attach::a_driver agent::attach::the_clsact agent::leftovers::what_was_kept agent::leftovers::a_new agent::leftovers::detach
slide /usr/bin/lab slide::
pktgen /usr/bin/sipnat-bench pktgen --emulated
";
/// That of them which is no test binary, and so does not say how many tests passed.
const PKTGEN: &str = "pktgen";
/// What the benchmarks need beside their program.
const BENCH_OBJECT: &str = "/usr/lib/bench.bpf.o";

/// All is over long before, and what hangs is ended.
const LIMIT: &str = "600";
/// What the first process says at the very end.
const END: &str = "vm: all done";

/// What it says when that step did what it should.
const PASSED: &str = "vm: passed pktgen";

/// Builds everything, and runs the tests on each kernel.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    kernels: &[Series],
) -> Vec<(&'static str, Outcome)> {
    let start = Instant::now();
    let built = tests(workspace, install).map_err(|error| format!("{error:#}"));
    let built_in = start.elapsed();
    let test = &|series: Series| {
        let start = Instant::now();
        let mut outcome = match &built {
            Ok(programs) => test_on(workspace, series, programs)
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

/// Runs the benchmark of pktgen on a kernel that has it; whether it came to its end.
pub(crate) fn bench_pktgen(workspace: &Workspace, install: Install, json: bool) -> Result<bool> {
    packages::ensure(&[EMULATOR, IP], install)?;
    let object = build::kernel_programs(workspace, install)?;
    let programs = bench(workspace, install, &object)?;
    let json = if json { " --json" } else { "" };
    let steps = format!("{PKTGEN} /usr/bin/sipnat-bench pktgen --emulated{json}\n");
    let (mut passed, mut within) = (false, json.is_empty());
    let done = run(workspace, Series::V6_12, &programs, &steps, |line| {
        passed |= line == PASSED;
        within |= line == "{";
        if within && !line.starts_with("vm: ") {
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
        within &= json.is_empty() || line != "}";
    })?;
    Ok(done && passed)
}

/// Files of this machine, each with the path that it gets in there, and with the libraries that it needs.
type Programs = Vec<(PathBuf, PathBuf)>;

/// The agent, the test binaries and the benchmarks.
fn tests(workspace: &Workspace, install: Install) -> Result<Programs> {
    packages::ensure(&packages::LAB, install)?;
    packages::ensure(&[EMULATOR], install)?;
    let object = build::kernel_programs(workspace, install)?;
    let agent = build::agent(workspace, &object)?;
    let mut programs = bench(workspace, install, &object)?;
    programs.push(("/usr/bin/sipnat".into(), agent));
    let mut cargo = workspace.cargo("test");
    cargo
        .args(["--no-run", "--release", "--package=nat-tests"])
        .args(["--test=test_run", "--test=lab", "--message-format=json"])
        .env(build::OBJECT, &object)
        .stderr(Stdio::inherit());
    eprintln!("$ {}", command::line(&cargo));
    let built = executables(&command::output(&mut cargo)?);
    for name in TESTS {
        let binary = built.iter().find(|(built, _)| built == name);
        let (_, binary) = binary.with_context(|| format!("cargo did not build {name}"))?;
        programs.push((Path::new("/usr/bin").join(name), binary.clone()));
    }
    for name in PROGRAMS {
        programs.push(installed(name)?);
    }
    for name in EXTENSIONS {
        let extension = Path::new(EXTENSIONS_IN).join(name);
        programs.push((extension.clone(), extension));
    }
    Ok(programs)
}

/// The benchmarks, and their kernel programs.
fn bench(workspace: &Workspace, install: Install, object: &Path) -> Result<Programs> {
    let object_of_its_own = build::programs(workspace, install, build::BENCH)?;
    let program = build::bench(workspace, object)?;
    Ok(vec![
        (BENCH_OBJECT.into(), object_of_its_own),
        ("/usr/bin/sipnat-bench".into(), program),
        installed("ip")?,
    ])
}

fn installed(name: &str) -> Result<(PathBuf, PathBuf)> {
    let program = packages::find(name).with_context(|| format!("no {name}"))?;
    Ok((Path::new("/usr/bin").join(name), program))
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

fn test_on(workspace: &Workspace, series: Series, programs: &Programs) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let done = run(workspace, series, programs, STEPS, |line| {
        println!("{}: {line}", series.name());
        outcome.read(line);
        if let Some(name) = line.strip_prefix("vm: failed ") {
            outcome.fail(name);
        }
        outcome.counts.passed += u64::from(line == PASSED);
    });
    match done {
        Ok(true) => {}
        Ok(false) => outcome.fail("the kernel did not come to the end"),
        Err(error) => outcome.fail(&format!("{error:#}")),
    }
    Ok(outcome)
}

/// Boots a kernel that runs the steps, and lets every line be read that it prints. Whether it came to the end.
fn run(
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
        initramfs(workspace, &image, programs, steps)?.finish(),
    )?;

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
    let mut ended = false;
    let result = command::follow(&mut emulator, |line| {
        read(line);
        ended |= line == END;
    });
    fs::remove_file(&files)?;
    result.map(|()| ended)
}

fn initramfs(
    workspace: &Workspace,
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
    // Tests look for it from the directory of their crate.
    files.directory(&workspace.root.join("tests"));
    for input in fs::read_dir(workspace.root.join("fuzz/corpus/stun"))? {
        let input = input?.path();
        files.copy(&input, &input)?;
    }
    for (path, program) in programs {
        files.program(path, program)?;
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
