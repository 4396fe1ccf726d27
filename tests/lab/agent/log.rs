//! Forms of the log: lines for people, objects with fields for programs.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{process::Process, sipnat};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, interfaces::says, stderr, stop};

/// The agent, with a form of the log.
fn logging(form: &str, level: &str) -> Result<Command> {
    let mut command = Command::new(sipnat::binary()?);
    command
        .args(["run", "--iface", "eth0"])
        .env("SIPNAT_LOG_FORM", form)
        .env("RUST_LOG", level);
    Ok(command)
}

/// Runs an agent until its interface has gone. Returns all that it said.
fn loses_its_interface(form: &str) -> Result<String> {
    let host = Host::new()?;
    let mut agent: Process = host.start(&mut logging(form, "warn")?)?;
    host.netns.ip("link del eth0")?;
    says(&mut agent, "not on eth0")?;
    stop(agent, Signal::SIGTERM)
}

#[test]
fn a_line_is_a_sentence_and_an_object_has_its_fields_too() -> Result<()> {
    let output = loses_its_interface("lines")?;
    let line = output.lines().find(|line| line.contains("not on eth0"));
    let line = line.context("no such line")?;
    assert!(
        line.contains(" WARN ") && !line.contains("interface="),
        "{line}"
    );

    let output = loses_its_interface("json")?;
    let objects = output.lines().filter(|line| line.starts_with('{'));
    let objects: Vec<Value> = objects
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let lost = objects.iter().find(|object| object["interface"] == "eth0");
    let lost = lost.with_context(|| format!("no object with the interface: {output}"))?;
    assert_eq!(lost["level"], "WARN", "{lost}");
    let sentence = lost["message"].as_str().unwrap_or_default();
    assert!(sentence.starts_with("not on eth0: "), "{lost}");
    Ok(())
}

#[test]
fn an_object_names_the_signal_and_aya_is_quiet() -> Result<()> {
    let host = Host::new()?;
    let agent = host.start(&mut logging("json", "debug")?)?;
    let output = stop(agent, Signal::SIGTERM)?;
    let object = output.lines().find(|line| line.contains("SIGTERM: ending"));
    let object: Value = serde_json::from_str(object.context("it says nothing of its end")?)?;
    ensure!(object["signal"] == "SIGTERM", "{object}");
    // aya's own messages about each relocation.
    assert!(!output.contains("aya_obj"), "{output}");
    Ok(())
}

#[test]
fn a_form_that_does_not_exist_is_named() -> Result<()> {
    let host = Host::new()?;
    let mut command = logging("xml", "warn")?;
    let output = host.netns.enter(|| command.output())??;
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let expected = "sipnat: SIPNAT_LOG_FORM=xml: must be lines, json or journal\n";
    assert_eq!(text, expected);
    Ok(())
}
