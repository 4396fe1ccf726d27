//! Completions for shells.

use std::path::Path;

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate_to};

/// Writes completions for bash, zsh and fish into `directory`: `sipnat.bash`, `_sipnat` and `sipnat.fish`.
pub(super) fn write(command: &mut Command, directory: &Path) -> Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, command, "sipnat", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use nat_userspace::cli::Cli;

    use super::*;

    #[test]
    fn each_shell_knows_the_commands() {
        let directory = tempfile::tempdir().unwrap();
        write(&mut Cli::command(), directory.path()).unwrap();
        for name in ["sipnat.bash", "_sipnat", "sipnat.fish"] {
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(
                text.contains("stun-query") && text.contains("reload"),
                "{name}"
            );
        }
    }
}
