//! Errors of loading: a program that the verifier refuses, and a kernel that is out of something.

use std::io;

use anyhow::anyhow;
use aya::programs::ProgramError;
use nix::errno::Errno;

/// A program that the verifier refuses.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's verifier refuses program `{program}`: {} ({error})", self.reason())]
pub struct Rejected {
    /// Name of the program.
    pub program: &'static str,
    /// Error of the system call.
    pub error: io::Error,
    /// The verifier's log.
    pub log: String,
}

impl Rejected {
    /// Returns the last line of the verifier's log before its statistics.
    fn reason(&self) -> &str {
        self.log
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty() && !is_statistics(line))
            .unwrap_or("it gives no reason")
    }
}

fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time", "stack depth"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Returns the error of loading `program`: [`Rejected`] only if the verifier has seen it.
pub(super) fn of_program(program: &'static str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            if is_no_verdict(&io_error, &log) {
                return anyhow!(io_error).context(format!("cannot load program `{program}`"));
            }
            Rejected {
                program,
                error: io_error,
                log,
            }
            .into()
        }
        error => anyhow!(error).context(format!("cannot load program `{program}`")),
    }
}

/// Whether the kernel refused a program for a reason that is not in the program: it lacks a descriptor, memory or a
/// permission. `EPERM` comes from the verifier, too, which then has logged why.
pub(super) fn is_no_verdict(error: &io::Error, log: &str) -> bool {
    let is_denied = error.raw_os_error() == Some(Errno::EPERM as i32);
    is_short(error) || is_denied && log.trim().is_empty()
}

/// Whether the system is out of something.
pub(super) fn is_short(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
    )
}

/// Returns what to do about an error that says that the system is out of something; none for other errors.
#[must_use]
pub fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    let errno = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        let io = io.and_then(io::Error::raw_os_error).map(Errno::from_raw);
        io.or_else(|| cause.downcast_ref::<Errno>().copied())
    })?;
    Some(match errno {
        Errno::EMFILE => {
            "sipnat may open too few files: raise `ulimit -n`, or LimitNOFILE= of its unit"
        }
        Errno::ENFILE => {
            "this host has too many open files: raise `sysctl fs.file-max`, or close some"
        }
        Errno::ENOMEM => {
            "memory is short: see `free`, and the limit of sipnat's control group, MemoryMax= of its unit"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_the_reason_only() {
        let rejected = Rejected {
            program: "ingress",
            error: io::Error::from_raw_os_error(13),
            log: "0: R1=ctx()\n1: (79) r2 = *(u64 *)(r1 +0)\nR1 invalid mem access 'scalar'\n\
                  verification time 9 usec\nstack depth 0\nprocessed 2 insns (limit 1000000)\n"
                .into(),
        };
        assert_eq!(
            rejected.to_string(),
            "the kernel's verifier refuses program `ingress`: \
             R1 invalid mem access 'scalar' (Permission denied (os error 13))"
        );
    }

    #[test]
    fn a_kernel_that_is_out_of_something_has_not_seen_the_program() {
        for (errno, log, is_verdict) in [
            (Errno::EMFILE, "", false),
            (Errno::ENFILE, "", false),
            (Errno::ENOMEM, "", false),
            (Errno::EPERM, "", false),
            (Errno::EPERM, "R1 leaks addr\n", true),
            (Errno::EACCES, "R1 invalid mem access\n", true),
            (Errno::EINVAL, "", true),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(is_no_verdict(&error, log), !is_verdict, "{errno}: {log}");
        }
    }

    #[test]
    fn what_is_short_has_a_remedy() {
        for (errno, word) in [
            (Errno::EMFILE, "ulimit -n"),
            (Errno::ENFILE, "fs.file-max"),
            (Errno::ENOMEM, "MemoryMax="),
        ] {
            let error = anyhow!(io::Error::from_raw_os_error(errno as i32)).context("cannot load");
            assert!(remedy(&error).unwrap().contains(word), "{errno}");
            assert!(remedy(&anyhow!(errno)).unwrap().contains(word), "{errno}");
        }
        assert_eq!(remedy(&anyhow!(Errno::EINVAL)), None);
    }
}
