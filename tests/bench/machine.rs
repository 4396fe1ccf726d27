//! The machine on which the figures were measured.

use std::{fmt, fs, thread, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    libc,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

/// Properties of the machine that affect figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    virtual_machine: bool,
    kernel: String,
    jit: bool,
    jit_hardened: bool,
    mitigations: Vec<String>,
    /// Load average of the last minute, at the start.
    load: f64,
}

impl Machine {
    pub(crate) fn describe() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": "))
                .map_or("unknown", |(_, value)| value)
        };
        let number = |path: &str| read(path).trim().parse::<u32>().unwrap_or_default();
        Self {
            cpu: field("model name").into(),
            cores: thread::available_parallelism().map_or(0, Into::into),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            jit: number("/proc/sys/net/core/bpf_jit_enable") != 0,
            jit_hardened: number("/proc/sys/net/core/bpf_jit_harden") != 0,
            mitigations: mitigations(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// The kernel's mitigations of the CPU's flaws, which make calls and returns expensive.
fn mitigations() -> Vec<String> {
    let Ok(files) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let mut all: Vec<String> = files
        .flatten()
        .filter_map(|file| {
            let text = fs::read_to_string(file.path()).ok()?;
            let name = file.file_name();
            let how = text.trim();
            (how != "Not affected").then(|| format!("{}: {how}", name.to_string_lossy()))
        })
        .collect();
    all.sort();
    all
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |is: bool, yes, no| if is { yes } else { no };
        writeln!(
            f,
            "{}, {} cores{}, Linux {}, JIT {}{}, load {}",
            self.cpu,
            self.cores,
            or(self.virtual_machine, " of a virtual machine", ""),
            self.kernel,
            or(self.jit, "on", "OFF"),
            or(self.jit_hardened, ", hardened", ""),
            self.load,
        )?;
        for line in &self.mitigations {
            writeln!(f, "- {line}")?;
        }
        Ok(())
    }
}

/// Pins a thread (0: this one) to one CPU.
pub(crate) fn pin(thread: i32, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(thread), &cpus)
        .with_context(|| format!("cannot keep thread {thread} on CPU {cpu}"))
}

/// Gives a thread (0: this one) a real-time priority, so that only the kernel interrupts it.
pub(crate) fn go_first(thread: i32) -> Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: a valid parameter.
    let result = unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const lowest) };
    Errno::result(result).context("cannot get real-time priority")?;
    Ok(())
}

/// Returns the CPU time of a thread.
pub(crate) fn cpu_time(thread: i32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    let nanoseconds = text.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Returns the processes and kernel threads for which `is_wanted` returns true.
pub(crate) fn processes(is_wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| is_wanted(*pid))
        .collect()
}
