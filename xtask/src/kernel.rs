//! Requirements on the kernel and the privileges of this process.

use std::{fs, path::Path};

use aya::{programs::ProgramType, sys::is_program_supported};

/// Oldest kernel that sipnat supports.
const OLDEST: (u32, u32) = (6, 1);

/// Capabilities by number, from linux/capability.h.
const CAPABILITIES: [(&str, u32); 4] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

/// Returns the missing requirements for kernel programs and network namespaces, with reasons.
pub(crate) fn gaps() -> Vec<String> {
    let status = status();
    let mut gaps = Vec::new();
    if !is_root() {
        gaps.push("root (to load programs and to make network namespaces)".to_owned());
    } else {
        let held = status_field(&status, "CapEff").unwrap_or("0");
        let missing = missing_capabilities(u64::from_str_radix(held, 16).unwrap_or(0));
        if !missing.is_empty() {
            gaps.push(format!("{}, although root", missing.join(", ")));
        }
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if parse_release(&release).is_none_or(|release| release < OLDEST) {
        let (major, minor) = OLDEST;
        gaps.push(format!(
            "kernel {major}.{minor} (this is {})",
            release.trim()
        ));
    }
    for (path, feature) in [
        (
            "/sys/kernel/btf/vmlinux",
            "BTF of the kernel (CONFIG_DEBUG_INFO_BTF)",
        ),
        ("/proc/self/ns/net", "network namespaces (CONFIG_NET_NS)"),
    ] {
        if !Path::new(path).exists() {
            gaps.push(format!("{feature}: no {path}"));
        }
    }
    // These queries need privileges, so they come last.
    if gaps.is_empty() {
        for (program, kind) in [
            (ProgramType::Xdp, "XDP"),
            (ProgramType::SchedClassifier, "TC"),
        ] {
            match is_program_supported(program) {
                Ok(true) => {}
                Ok(false) => gaps.push(format!("eBPF programs for {kind}")),
                Err(error) => gaps.push(format!("eBPF programs for {kind}: {error}")),
            }
        }
    }
    gaps
}

/// Whether the effective user is root.
pub(crate) fn is_root() -> bool {
    let status = status();
    let users = status_field(&status, "Uid").unwrap_or_default();
    users.split_whitespace().nth(1) == Some("0")
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn missing_capabilities(held: u64) -> Vec<&'static str> {
    let missing = CAPABILITIES.iter().filter(|(_, bit)| held >> bit & 1 == 0);
    missing.map(|(name, _)| *name).collect()
}

/// Major and minor number of a kernel release.
fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(parse_release("6.18.44-fc-v657\n"), Some((6, 18)));
        assert_eq!(parse_release("6.1.0-38-cloud-amd64"), Some((6, 1)));
        assert!(parse_release("6.12").unwrap() > OLDEST);
        assert!(parse_release("5.15.0").unwrap() < OLDEST);
        assert_eq!(parse_release(""), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert!(missing_capabilities(u64::MAX).is_empty());
        assert_eq!(missing_capabilities(!(1 << 39)), ["CAP_BPF"]);
        // The default capabilities of root in a container.
        assert_eq!(missing_capabilities(0xa804_25fb).len(), 4);
    }

    #[test]
    fn status_is_read_by_whole_names() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
        assert_eq!(status_field(status, "CapEff"), Some("000001ffffffffff"));
        assert_eq!(status_field(status, "Cap"), None);
    }
}
