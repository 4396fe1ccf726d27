//! Man pages: one for sipnat, and one for each of its commands.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;

/// Section of commands for system administration.
const SECTION: &str = "8";

/// Writes the pages of a command and its subcommands into `directory`.
pub(super) fn write(command: Command, directory: &Path) -> Result<()> {
    // Gives each subcommand its full name.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, directory)
}

fn pages(command: &Command, directory: &Path) -> Result<()> {
    for subcommand in command.get_subcommands() {
        pages(subcommand, directory)?;
    }
    let man = Man::new(command.clone())
        .section(SECTION)
        .manual("System Manager's Manual")
        .source(concat!("sipnat ", env!("CARGO_PKG_VERSION")));
    let path = directory.join(man.get_filename());
    fs::write(&path, page(&man, command)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the text of a page. The examples below a command's help keep their lines.
fn page(man: &Man, command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help() {
        writeln!(page, ".SH NOTES\n.nf")?;
        for line in notes.to_string().lines() {
            writeln!(page, "{}", verbatim(line))?;
        }
        writeln!(page, ".fi")?;
    }
    if command.get_name() == "run" {
        writeln!(
            page,
            ".SH FILES\n.TP\n/etc/sipnat/sipnat.toml\nConfiguration file."
        )?;
    }
    Ok(page)
}

/// Returns a line of roff that shows `line` as it is.
fn verbatim(line: &str) -> String {
    format!("\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use nat_userspace::cli::Cli;

    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        write(Cli::command(), directory.path()).unwrap();
        let page = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(page("sipnat.8").contains("sipnat\\-run(8)"));
        assert!(page("sipnat-policy-set.8").contains(".SH NAME"));
        let run = page("sipnat-run.8");
        for part in [
            "\\-\\-stun\\-total\\-rate",
            "/etc/sipnat/sipnat.toml",
            "\\&  sipnat run \\-\\-iface eth0",
        ] {
            assert!(run.contains(part), "{part}: {run}");
        }
        assert!(!run.contains("clsact qdisc"), "a hidden option is shown");
    }

    #[test]
    fn a_line_is_shown_as_it_is() {
        assert_eq!(verbatim(".TH a-b \\n"), "\\&.TH a\\-b \\en");
    }
}
