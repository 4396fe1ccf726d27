//! STUN clients: coturn, the client of RFC 3489, and aioice.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX, Plan,
    capture::{Direction, Tap},
    netns::receive,
    stun::{self},
};

use super::{PLAN, STUN, TRANSIT};
use crate::scene::{SOON, Scene, With, play};

const WITH_IPV6: Plan = Plan { ipv6: true, ..PLAN };

/// Time in seconds for a client that gets no answer.
const UNANSWERED: &str = "3";

/// A STUN client from a Linux distribution.
struct Client {
    /// Program and arguments. `PORT` is replaced by the port of the PBX.
    command: &'static [&'static str],
    /// Output right before the mapped address, and between address and port.
    prints: [&'static str; 2],
}

/// Client of coturn, which reads XOR-MAPPED-ADDRESS.
const TURNUTILS: Client = Client {
    command: &["turnutils_stunclient", "-p", "PORT", "203.0.113.10"],
    prints: ["UDP reflexive addr: ", ":"],
};

const TURNUTILS_V6: Client = Client {
    command: &["turnutils_stunclient", "-p", "PORT", "2001:db8:113::10"],
    ..TURNUTILS
};

/// Client of RFC 3489: no magic cookie, a CHANGE-REQUEST in every request, and MAPPED-ADDRESS.
const STUN_CLIENT: Client = Client {
    command: &["stun", "203.0.113.10:PORT", "1", "-v", "-p", "5060"],
    prints: ["MappedAddress = ", ":"],
};

/// Client with aioice, which sends and checks FINGERPRINT. Debian's Python is not always the first on PATH.
const AIOICE: Client = Client {
    command: &[
        "/usr/bin/python3",
        "-c",
        include_str!("../../support/scenarios/aioice_client.py"),
        "203.0.113.10",
        "PORT",
        "0.0.0.0",
    ],
    prints: ["mapped: ", " "],
};

const AIOICE_V6: Client = Client {
    command: &[
        "/usr/bin/python3",
        "-c",
        include_str!("../../support/scenarios/aioice_client.py"),
        "2001:db8:113::10",
        "PORT",
        "::",
    ],
    ..AIOICE
};

#[test]
fn coturn_client() -> Result<()> {
    TURNUTILS.is_answered()?;
    TURNUTILS.is_not_answered()
}

#[test]
fn coturn_client_by_ipv6() -> Result<()> {
    TURNUTILS_V6.is_answered()?;
    TURNUTILS_V6.is_not_answered()
}

#[test]
fn rfc3489_client() -> Result<()> {
    STUN_CLIENT.is_answered()?;
    STUN_CLIENT.is_not_answered()
}

#[test]
fn python_client() -> Result<()> {
    AIOICE.is_answered()?;
    AIOICE.is_not_answered()
}

#[test]
fn python_client_by_ipv6() -> Result<()> {
    AIOICE_V6.is_answered()?;
    AIOICE_V6.is_not_answered()
}

impl Client {
    /// The client prints the mapped address, from both ports, and the PBX gets nothing.
    fn is_answered(&self) -> Result<()> {
        play(WITH_IPV6, STUN, |scene| {
            let pbx = self.listen(scene)?;
            let phone = scene.lab.phone();
            for port in [stun::PORT, PBX.port()] {
                let output = self.run(scene, port)?;
                let mapped = self.mapped(&output).with_context(|| output.clone())?;
                let expected = if mapped.is_ipv6() {
                    phone.public_v6.into()
                } else {
                    // The NAT has given it any port: the source port behind the router.
                    let sent = scene.capture.wait_for(SOON, |packet| {
                        (packet.tap, packet.direction) == (Tap::Router(0), Direction::Out)
                            && packet.destination.port() == port
                    });
                    sent.context("the client asked nothing")?.source.into()
                };
                ensure!(mapped == expected, "not {expected}: {output}");
            }
            ensure!(scene.count("stun_answered")? >= 2, "it was not sipnat");
            ensure!(
                receive(&pbx, &mut [0; 2048]).is_err(),
                "the PBX was asked, too"
            );
            Ok(())
        })
    }

    /// The client prints no address if nobody answers, and the request reaches the PBX.
    fn is_not_answered(&self) -> Result<()> {
        play(WITH_IPV6, With::Sipnat, |scene| {
            let pbx = self.listen(scene)?;
            let output = self.run(scene, PBX.port())?;
            ensure!(self.mapped(&output).is_none(), "who answered it? {output}");
            ensure!(
                receive(&pbx, &mut [0; 2048]).is_ok(),
                "the PBX was not asked"
            );
            Ok(())
        })
    }

    /// Binds the PBX's socket, which answers nothing.
    fn listen(&self, scene: &Scene<'_>) -> Result<UdpSocket> {
        let pbx = scene.lab.pbx.udp((Ipv6Addr::UNSPECIFIED, PBX.port()))?;
        pbx.set_read_timeout(Some(TRANSIT))?;
        Ok(pbx)
    }

    /// Runs the client on the phone. Returns its output.
    fn run(&self, scene: &Scene<'_>, port: u16) -> Result<String> {
        let mut command = Command::new("timeout");
        command.arg(UNANSWERED);
        for argument in self.command {
            command.arg(argument.replace("PORT", &port.to_string()));
        }
        let output = scene.lab.phone().netns.output(&mut command)?;
        // `timeout` reports a program that it cannot run, and the program reports arguments that it does not know.
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Returns the mapped address in the output.
    fn mapped(&self, output: &str) -> Option<SocketAddr> {
        let [before, between] = self.prints;
        let line = output
            .lines()
            .find_map(|line| Some(line.split_once(before)?.1))?;
        let (ip, port) = line.trim().rsplit_once(between)?;
        let ip: IpAddr = ip.trim_matches(['[', ']']).parse().ok()?;
        Some(SocketAddr::new(ip, port.parse().ok()?))
    }
}
