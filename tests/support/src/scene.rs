//! Frame of every test: builds a lab with sipnat or without, and plays a scenario.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    capture::{Capture, Direction, Packet, Tap},
    lab::{Lab, Plan},
    ladder::{Ladder, Style},
    sip::{Answers, Message},
    sipnat::Sipnat,
    ua::{ScriptedPbx, Terminal},
};

/// Time within which an expected message must come.
pub const SOON: Duration = Duration::from_secs(5);
/// Time after which an answer is overdue: RFC 3261's T1, and a margin.
pub const OVERDUE: Duration = Duration::from_millis(600);
/// Patience of scripted user agents without sipnat: most messages never come, and some must.
const SHORTLY: Duration = Duration::from_secs(2);
/// Time of a packet through the whole lab, with a wide margin.
const TRANSIT: Duration = Duration::from_millis(300);

/// A lab with a capture, with or without sipnat at work in it.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The network.
    pub lab: &'a Lab,
    /// The agent on the PBX's host; none in a scene without it.
    pub sipnat: Option<Sipnat<'a>>,
    /// Packets of all interfaces.
    pub capture: Capture,
}

/// sipnat in a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// With default settings.
    Sipnat,
    /// With these arguments.
    Arguments(&'static [&'static str]),
    /// Without it.
    Nothing,
}

/// End of a packet that is not redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The ISP drops it because of its port 5060.
    Port5060,
    /// The ISP drops it because of its private address.
    PrivateAddress,
    /// It goes to the other gateway of the PBX's subnet.
    OtherGateway,
}

/// Makes two tests of one scenario: it succeeds with sipnat, and without it the message with this start line meets
/// this death.
#[macro_export]
macro_rules! scenario {
    ($name:ident, $plan:expr, without sipnat $start:literal dies $death:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn with_sipnat() -> anyhow::Result<()> {
                let plan = $plan;
                $crate::scene::play(plan, $crate::scene::With::Sipnat, super::$name)
            }

            #[test]
            fn without_sipnat() -> anyhow::Result<()> {
                let plan = $plan;
                $crate::scene::play(plan, $crate::scene::With::Nothing, |scene| {
                    scene.must_fail(super::$name, $start, $death)
                })
            }
        }
    };
}

/// Plays `scenario` in a new lab. An error contains the call ladder.
pub fn play(plan: Plan, with: With, scenario: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    play_in(&Lab::new(plan)?, with, scenario)
}

/// The same in a lab that is there. What was known in the scene before is forgotten.
pub fn play_in(
    lab: &Lab,
    with: With,
    scenario: impl FnOnce(&Scene<'_>) -> Result<()>,
) -> Result<()> {
    let sipnat = match with {
        With::Sipnat => Some(Sipnat::start(&lab.pbx, &[])?),
        With::Arguments(arguments) => Some(Sipnat::start(&lab.pbx, arguments)?),
        With::Nothing => None,
    };
    let mut scene = Scene {
        capture: lab.capture()?,
        lab,
        sipnat,
    };
    let played = scenario(&scene).with_context(|| scene.report());
    match scene.sipnat.take() {
        Some(sipnat) => played.and(sipnat.stop()),
        None => played,
    }
}

impl Scene<'_> {
    /// Plays `scenario`, which must fail because the PBX's message that begins with `start` meets `death`.
    pub fn must_fail(
        &self,
        scenario: impl FnOnce(&Self) -> Result<()>,
        start: &str,
        death: Death,
    ) -> Result<()> {
        ensure!(scenario(self).is_err(), "it succeeded without sipnat");
        let sent = self
            .capture
            .wait_for(SOON, |packet| self.left_pbx(packet, start));
        let sent = sent.with_context(|| format!("the PBX sent no {start}"))?;
        let arrived = |packet: &Packet| {
            packet.direction == Direction::In
                && matches!(packet.tap, Tap::Phone(..) | Tap::Router(_))
                && packet.payload.starts_with(start.as_bytes())
                && packet.time >= sent.time
        };
        ensure!(
            self.capture.wait_for(TRANSIT, arrived).is_none(),
            "{start} arrived without sipnat"
        );
        let dropped = self.lab.dropped()?;
        let died_there = match death {
            Death::Port5060 => dropped.port_5060 > 0,
            Death::PrivateAddress => dropped.private > 0,
            Death::OtherGateway => self
                .capture
                .at(Tap::OtherGateway, Direction::In)
                .iter()
                .any(|packet| packet.payload == sent.payload),
        };
        ensure!(died_there, "{start} died, but not as expected ({death:?})");
        Ok(())
    }

    fn left_pbx(&self, packet: &Packet, start: &str) -> bool {
        packet.tap == Tap::Pbx
            && packet.direction == Direction::Out
            && packet.payload.starts_with(start.as_bytes())
    }

    /// Returns the packets of the PBX so far that begin with `start`.
    pub fn sent_by_pbx(&self, start: &str) -> Vec<Packet> {
        let mut packets = self.capture.packets();
        packets.retain(|packet| self.left_pbx(packet, start));
        packets
    }

    /// Returns the patience of scripted user agents.
    pub fn patience(&self) -> Duration {
        if self.sipnat.is_some() { SOON } else { SHORTLY }
    }

    /// A scripted PBX that answers to the source of requests.
    pub fn pbx(&self) -> Result<ScriptedPbx> {
        ScriptedPbx::start(&self.lab.pbx, Answers::ToSource, self.patience())
    }

    /// A scripted phone of the lab.
    pub fn terminal(&self, site: usize, phone: usize, user: &str) -> Result<Terminal> {
        let phone = &self.lab.sites[site].phones[phone];
        Terminal::start(&phone.netns, phone.private, user, self.patience())
    }

    /// Returns the final destination of a message of the PBX.
    pub fn destination(&self, sent: &Message) -> Result<SocketAddrV4> {
        let text = sent.to_string();
        let packet = self.capture.wait_for(SOON, |packet| {
            self.left_pbx(packet, &sent.start) && packet.payload == text.as_bytes()
        });
        let packet = packet.with_context(|| format!("the PBX did not send {}", sent.start))?;
        Ok(packet.destination)
    }

    /// Fails unless a message of the PBX has gone to `place`.
    pub fn went_to(&self, sent: &Message, place: SocketAddrV4) -> Result<()> {
        let went = self.destination(sent)?;
        ensure!(went == place, "{} went to {went}, not {place}", sent.start);
        Ok(())
    }

    /// Returns the final destinations of all transmissions of a message of the PBX so far.
    pub fn destinations(&self, sent: &Message) -> Vec<SocketAddrV4> {
        let text = sent.to_string();
        let packets = self.sent_by_pbx(&sent.start);
        let transmissions = packets
            .iter()
            .filter(|packet| packet.payload == text.as_bytes());
        transmissions.map(|packet| packet.destination).collect()
    }

    /// The PBX sends a request as often as there are `places`. Fails unless each transmission goes to its place.
    pub fn transmits(
        &self,
        pbx: &ScriptedPbx,
        request: &Message,
        places: &[SocketAddrV4],
    ) -> Result<()> {
        for _ in places {
            pbx.send(request)?;
        }
        let went = self.destinations(request);
        ensure!(
            went == places,
            "{} went to {went:?}, not {places:?}",
            request.start
        );
        Ok(())
    }

    /// Returns the sipnat under test.
    pub fn sipnat(&self) -> Result<&Sipnat<'_>> {
        self.sipnat.as_ref().context("sipnat does not run")
    }

    /// Returns one of its counters.
    pub fn count(&self, counter: &str) -> Result<u64> {
        let stats = self.sipnat()?.json(&["stats"])?;
        stats[counter]
            .as_u64()
            .with_context(|| format!("no counter {counter}"))
    }

    /// Returns the bindings of a kind (`dialog`, `contact`), without pending ones.
    pub fn bindings(&self, kind: &str) -> Result<Vec<Value>> {
        let listing = self.sipnat()?.json(&["bindings", "list"])?;
        let rows = listing["bindings"].as_array().context("no bindings")?;
        let of_kind = |row: &&Value| row["kind"] == kind && row["state"] != "pending";
        Ok(rows.iter().filter(of_kind).cloned().collect())
    }

    /// Returns the only binding of a kind.
    pub fn binding(&self, kind: &str) -> Result<Value> {
        let mut rows = self.bindings(kind)?;
        ensure!(rows.len() == 1, "not one {kind}: {rows:#?}");
        Ok(rows.swap_remove(0))
    }

    fn report(&self) -> String {
        let ladder = Ladder::new(&self.capture.packets(), Style::Plain);
        let mut report = format!("\n{ladder}dropped by the ISP: {:?}\n", self.lab.dropped());
        if let Some(sipnat) = &self.sipnat {
            for command in [["bindings", "list"].as_slice(), &["stats"]] {
                let text = sipnat
                    .command(command)
                    .unwrap_or_else(|error| format!("{error:#}"));
                report.push_str(&format!("sipnat {}:\n{text}\n", command.join(" ")));
            }
            report.push_str(&format!("its output:\n{}\n", sipnat.log()));
        }
        report
    }
}
