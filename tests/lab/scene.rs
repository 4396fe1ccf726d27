//! What every test does: build a lab, with sipnat or without, and play.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nat_tests::{
    Lab, Plan, Sipnat,
    capture::{Capture, Packet, Tap},
    ladder::{Ladder, Style},
    lab::Dropped,
};

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A lab with a capture, with or without sipnat at work in it.
pub(crate) struct Scene<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) sipnat: Option<Sipnat<'a>>,
    pub(crate) capture: Capture,
}

/// Whether sipnat runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Sipnat,
    Nothing,
}

/// Plays `scenario` in a fresh lab; its failure comes with the call ladder.
pub(crate) fn play(plan: Plan, with: With, scenario: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    let lab = Lab::new(plan)?;
    let sipnat = match with {
        With::Sipnat => Some(Sipnat::start(&lab.pbx, &[])?),
        With::Nothing => None,
    };
    let mut scene = Scene { capture: lab.capture()?, lab: &lab, sipnat };
    let played = scenario(&scene).with_context(|| scene.report());
    if let Some(sipnat) = scene.sipnat.take() {
        let stopped = sipnat.stop();
        return played.and(stopped);
    }
    played
}

impl Scene<'_> {
    fn report(&self) -> String {
        let ladder = Ladder::new(&self.capture.packets(), Style::Plain);
        let dropped = self.lab.dropped();
        let mut report = format!("\n{ladder}dropped by the ISP: {dropped:?}\n");
        if let Some(sipnat) = &self.sipnat {
            for command in [["bindings", "list"].as_slice(), &["stats"]] {
                let text = sipnat.command(command).unwrap_or_else(|error| format!("{error:#}"));
                report.push_str(&format!("sipnat {}:\n{text}\n", command.join(" ")));
            }
            report.push_str(&format!("its output:\n{}\n", sipnat.log()));
        }
        report
    }
}
