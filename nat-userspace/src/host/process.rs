//! Processes of this host.

use std::fs;

/// Returns when a process started, in clock ticks after boot; none if it does not run.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses /proc/PID/stat (proc_pid_stat(5)). The second field is a name in parentheses that may hold any character.
fn parse_start_time(stat: &str) -> Option<u64> {
    const STATE: usize = 3;
    const STARTTIME: usize = 22;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(STARTTIME - STATE - 1)?.parse().ok();
    // A zombie has ended.
    start.filter(|_| state != "Z" && state != "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_names() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse_start_time(&format!("7 (a) b) S {tail}")), Some(4242));
        assert_eq!(parse_start_time(&format!("7 (sipnat) Z {tail}")), None);
        assert_eq!(parse_start_time("7 (sipnat"), None);
    }
}
