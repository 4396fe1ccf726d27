//! The configuration file. Its keys are the long options of a command, and its values are read by the options' own parsers.
//!
//! So an option is defined once, and an error in the file reads like one of the command line. `port = [5060, 5080]` in the
//! file is `--port=5060 --port=5080`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use clap::{
    Arg, Args, Command,
    error::{ContextKind, ContextValue},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::nearest::nearest;

/// Place of the file if no option names another.
pub const PATH: &str = "/etc/sipnat/sipnat.toml";

/// Reads options from a file.
///
/// # Errors
/// If it cannot be read, has an unknown key, or a value that is none of the option's. All but the first name the line.
pub fn read<A: Args>(path: &Path) -> Result<A> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map_err(|Wrong { at, why }| {
        let line = text[..at].matches('\n').count() + 1;
        anyhow::anyhow!("{}:{line}: {why}", path.display())
    })
}

/// Error at a byte of the file.
struct Wrong {
    at: usize,
    why: String,
}

/// Reads options from the text of a file.
fn parse<A: Args>(text: &str) -> Result<A, Wrong> {
    let table = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().into(),
    })?;
    let command = A::augment_args(Command::new("sipnat").no_binary_name(true));
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    // The first error of the file is the one to report.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut arguments = Vec::new();
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let at = key.span().start;
        known(&command, name).map_err(|error| wrong(at, &error))?;
        let given = arguments_of(&command, name, value)?;
        // An option that takes one value refuses several.
        command
            .clone()
            .try_get_matches_from(&given)
            .map_err(|_| wrong(at, &format!("{name} takes one value, not a list")))?;
        arguments.extend(given);
    }
    let matches = command.try_get_matches_from(arguments);
    matches
        .and_then(|matches| A::from_arg_matches(&matches))
        .map_err(|error| wrong(0, &error.to_string()))
}

fn wrong(at: usize, why: &(impl ToString + ?Sized)) -> Wrong {
    Wrong {
        at,
        why: why.to_string(),
    }
}

/// Checks that a key is an option.
fn known(command: &Command, name: &str) -> Result<()> {
    let keys = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let keys = || keys().filter_map(Arg::get_long);
    if command
        .get_arguments()
        .any(|arg| arg.get_long() == Some(name))
    {
        return Ok(());
    }
    if let Some(nearest) = nearest(name, keys()) {
        bail!("there is no key {name}; did you mean {nearest}?");
    }
    let keys: Vec<&str> = keys().collect();
    bail!("there is no key {name}; the keys are {}", keys.join(", "));
}

/// Returns the command-line arguments for a key and its value, each of which the option takes.
fn arguments_of(
    command: &Command,
    name: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<String>, Wrong> {
    let values = match value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        _ => vec![value],
    };
    let mut arguments = Vec::new();
    for value in values {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(is) => is.to_string(),
            other => {
                let why = format!("{name} is no {}", other.type_str());
                return Err(wrong(value.span().start, &why));
            }
        };
        let argument = format!("--{name}={text}");
        if let Err(error) = command.clone().try_get_matches_from([&argument]) {
            let why = format!("`{text}` is no value of {name}: {}", reason(&error));
            return Err(wrong(value.span().start, &why));
        }
        arguments.push(argument);
    }
    Ok(arguments)
}

/// Returns the reason for which an option refused its value, without the hints about the command line.
fn reason(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue) {
        return format!("it takes {}", values.join(", "));
    }
    std::error::Error::source(error).map_or_else(|| error.kind().to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Args)]
    struct Options {
        #[arg(long)]
        port: Vec<u16>,
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        keep: Option<bool>,
        #[arg(long)]
        name: Option<String>,
        #[arg(long, hide = true)]
        hidden: Option<String>,
    }

    /// Returns the error of a text, with its line.
    fn error(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        let error = read::<Options>(file.path()).unwrap_err().to_string();
        let path = format!("{}:", file.path().display());
        error
            .strip_prefix(&path)
            .expect("the file comes first")
            .into()
    }

    #[test]
    fn values_and_lists_are_read() {
        let options: Options =
            parse("# A comment.\nport = [5060, 5_080]\nkeep = false\nname = \"a b\"\n")
                .map_err(|wrong| wrong.why)
                .unwrap();
        let expected = Options {
            port: vec![5060, 5080],
            keep: Some(false),
            name: Some("a b".into()),
            hidden: None,
        };
        assert_eq!(options, expected);
        let one: Options = parse("port = 5060\nhidden = 'x'")
            .map_err(|wrong| wrong.why)
            .unwrap();
        assert_eq!((one.port, one.hidden), (vec![5060], Some("x".into())));
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest() {
        assert_eq!(
            error("port = 1\n\nkep = true\n"),
            "3: there is no key kep; did you mean keep?"
        );
        assert_eq!(
            error("interface = 'eth0'"),
            "1: there is no key interface; the keys are port, keep, name"
        );
        assert_eq!(
            error("[ports]\nfirst = 1\n"),
            "1: there is no key ports; did you mean port?"
        );
        assert!(error("help = true").starts_with("1: there is no key help;"));
    }

    #[test]
    fn a_bad_value_comes_with_its_line() {
        assert_eq!(
            error("port = [\n  5060,\n  70000,\n]\n"),
            "3: `70000` is no value of port: 70000 is not in 0..=65535"
        );
        assert_eq!(
            error("name = 'a'\nkeep = 'maybe'\n"),
            "2: `maybe` is no value of keep: it takes true, false"
        );
        assert_eq!(
            error("keep = [true, true]\n"),
            "1: keep takes one value, not a list"
        );
        assert_eq!(error("port = 5060.5\n"), "1: port is no float");
        assert_eq!(error("[port]\nfirst = 1\n"), "1: port is no table");
        assert_eq!(error("port = [[5060]]\n"), "1: port is no array");
    }

    #[test]
    fn the_first_error_counts() {
        assert!(error("zzz = 1\nkeep = 1\nport = 'a'\n").starts_with("1: "));
        assert!(error("port = 'a'\nkeep = 1\n").starts_with("1: `a` "));
    }

    #[test]
    fn what_is_no_toml_comes_with_its_line() {
        assert!(error("port = 1\nport = 2\n").starts_with("2: duplicate key"));
        assert!(error("port = 1\n\nkeep\n").starts_with("3: "));
        assert!(error("name = 'a\n").starts_with("1: "));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read::<Options>(Path::new("/nowhere/a.toml")).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read /nowhere/a.toml: No such file"));
    }
}
