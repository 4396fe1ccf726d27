//! sipnat answers STUN: to phones that put what they hear into Contact, to clients that people use, and to no more
//! than it should.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, PBX, Plan, ScriptedPbx, StrictPbx,
    baresip::Baresip,
    capture::{Direction, Tap},
    lab::{NEIGHBOUR, PUBLIC_PHONE},
    netns::receive,
    stun::{self, mapped, transaction},
    twinkle::Twinkle,
};

use crate::scene::{Death, SOON, Scene, With, play};

/// sipnat answers STUN, in the driver.
const STUN: With = With::Arguments(&["--stun", "--xdp", "native"]);
const PLAN: Plan = Plan {
    xdp_replies: true,
    ..Plan::PLAIN_NAT
};
const WITH_IPV6: Plan = Plan { ipv6: true, ..PLAN };
const AOR: &str = "sip:1000@203.0.113.10";
const STUN_PORT: SocketAddrV4 = SocketAddrV4::new(*PBX.ip(), stun::PORT);
/// Twinkle first finds out what kind of NAT it is behind, which takes some seconds.
const TWINKLE_REGISTERS: Duration = Duration::from_secs(15);
/// Twinkle gives its STUN server 9.5 s when it starts, and again when it registers.
const TWINKLE_GIVES_UP: Duration = Duration::from_secs(25);
/// The timers of RFC 8489 6.2.1.
const CLIENT_GIVES_UP: Duration = Duration::from_secs(45);
/// How long sipnat waits for a keepalive that used to come every second, and half as long again.
const SILENCE: Duration = Duration::from_secs(12);
/// How long a datagram may take that the PBX need not get.
const TRANSIT: Duration = Duration::from_millis(200);
/// How long a client runs that gets no answer.
const UNANSWERED: &str = "3";

/// A phone that asks is registered where it really is, called there, and gets its re-INVITE: without one redirect.
#[test]
fn phone_with_stun_needs_no_redirect() -> Result<()> {
    for server in [STUN_PORT, PBX] {
        play(PLAN, STUN, |scene| {
            registers_and_is_called(scene, Some(server))?;
            for counter in ["response", "dialog", "contact", "invite"] {
                let redirected = scene.count(&format!("out_redirected_{counter}"))?;
                ensure!(redirected == 0, "{redirected} redirected by {counter}");
            }
            ensure!(scene.count("out_already_there")? > 0, "nothing went there");
            ensure!(scene.count("stun_answered")? > 0, "nothing was asked");
            ensure!(
                scene.count("stun_refused")? > 0,
                "it asked for no other address"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// The same phone with no STUN server: it registers a private address.
#[test]
fn phone_without_stun_is_lost() -> Result<()> {
    play(PLAN, With::Nothing, |scene| {
        scene.must_fail(
            |scene| registers_and_is_called(scene, None),
            "INVITE",
            Death::PrivateAddress,
        )
    })
}

/// The same phone, and sipnat answers no STUN: it says so, and does not register.
#[test]
fn phone_gets_no_answer_if_stun_is_off() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
        let mut phone = Twinkle::start(scene.lab.phone(), "1000", Some(PBX))?;
        phone.wait_for("registration failed: STUN failure", TWINKLE_GIVES_UP)?;
        ensure!(
            pbx.registered(AOR, Duration::ZERO).is_err(),
            "it registered"
        );
        ensure!(scene.count("in_stun")? > 0, "it asked nothing");
        Ok(())
    })
}

/// The phone registers; the PBX calls it, holds the call and hangs up.
fn registers_and_is_called(scene: &Scene<'_>, stun: Option<SocketAddrV4>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let phone = scene.lab.phone();
    let mut twinkle = Twinkle::start(phone, "1000", stun)?;
    twinkle.wait_ready(TWINKLE_REGISTERS)?;
    let contact = pbx.registered(AOR, Duration::ZERO)?;
    let expected = match stun {
        Some(_) => phone.public.to_string(),
        None => phone.private.ip().to_string(),
    };
    ensure!(
        contact.starts_with(&format!("sip:1000@{expected}")),
        "it registered {contact}"
    );
    let call = pbx.answered(&pbx.invite(AOR)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    Ok(())
}

/// A STUN client that people use.
struct Client {
    /// The program and its arguments: it asks the PBX's port that is given for `PORT`.
    command: &'static [&'static str],
    /// What it prints right before the mapped address, and between its two parts.
    prints: [&'static str; 2],
}

/// coturn's: XOR-MAPPED-ADDRESS.
const TURNUTILS: Client = Client {
    command: &["turnutils_stunclient", "-p", "PORT", "203.0.113.10"],
    prints: ["UDP reflexive addr: ", ":"],
};
const TURNUTILS_V6: Client = Client {
    command: &["turnutils_stunclient", "-p", "PORT", "2001:db8:113::10"],
    ..TURNUTILS
};
/// Of the days of RFC 3489: no magic cookie, a CHANGE-REQUEST in every request, and MAPPED-ADDRESS.
const STUN_CLIENT: Client = Client {
    command: &["stun", "203.0.113.10:PORT", "1", "-v", "-p", "5060"],
    prints: ["MappedAddress = ", ":"],
};
/// It sends and checks FINGERPRINT. Debian's Python is not always the first on PATH.
const AIOICE: Client = Client {
    command: &[
        "/usr/bin/python3",
        "-c",
        include_str!("../support/scenarios/aioice_client.py"),
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
        include_str!("../support/scenarios/aioice_client.py"),
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
    /// It prints the address that the NAT gives it, from both ports; the PBX hears nothing of it.
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
                    // The NAT gave it any port; that is what its router sent from.
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

    /// It prints no address if nobody answers; it is the PBX that is asked.
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

    /// A PBX that says nothing.
    fn listen(&self, scene: &Scene<'_>) -> Result<UdpSocket> {
        let pbx = scene.lab.pbx.udp((Ipv6Addr::UNSPECIFIED, PBX.port()))?;
        pbx.set_read_timeout(Some(TRANSIT))?;
        Ok(pbx)
    }

    /// Runs it on the phone; what it prints.
    fn run(&self, scene: &Scene<'_>, port: u16) -> Result<String> {
        let mut command = Command::new("timeout");
        command.arg(UNANSWERED);
        for argument in self.command {
            command.arg(argument.replace("PORT", &port.to_string()));
        }
        let output = scene.lab.phone().netns.output(&mut command)?;
        // `timeout` says so if it cannot run the program, and so does the program of arguments that it does not know.
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// The mapped address that it has printed.
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

/// A phone that keeps its flow alive (RFC 5626 4.4.2) is content with the answers, and the PBX hears nothing of it.
#[test]
fn keepalives() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.pbx()?;
        let phone = Baresip::start_outbound(scene.lab.phone(), "1000")?;
        grant_outbound(&pbx)?;
        told(scene, scene.lab.phone().public, 3)?;
        ensure!(!phone.output().contains("Register:"), "{}", phone.output());
        pbx.ua.heard_all()
    })
}

/// Without answers it gives its flow up.
#[test]
fn keepalives_without_answers() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let mut phone = Baresip::start_outbound(scene.lab.phone(), "1000")?;
        grant_outbound(&pbx)?;
        phone.wait_for("Register: Connection timed out", CLIENT_GIVES_UP)
    })
}

/// The NAT gives the phone another port between two keepalives: the phone is told, and so is who asks sipnat. The
/// binding stays as it is, since nobody proves by STUN who he is.
#[test]
fn mapping_changes_between_keepalives() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.pbx()?;
        let site = &scene.lab.sites[0];
        let old = site.phones[0].public;
        let new = SocketAddrV4::new(*old.ip(), 51234);
        let mut phone = Baresip::start_outbound(&site.phones[0], "1000")?;
        grant_outbound(&pbx)?;
        // So many tell sipnat how often they come.
        told(scene, old, 5)?;
        site.remap(0, new)?;
        told(scene, new, 1)?;
        phone.wait_for("Register: Transport endpoint is not connected", SOON)?;
        let deadline = Instant::now() + SILENCE;
        loop {
            let binding = scene.binding("contact")?;
            ensure!(binding["learned"] == old.to_string(), "{binding:#}");
            if binding["moved_to"] == new.to_string() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not seen to have moved: {binding:#}"
            );
            thread::sleep(TRANSIT);
        }
    })
}

/// The next message to the PBX is a REGISTER that asks for `outbound`; the answer agrees, and wants a keepalive every
/// second.
fn grant_outbound(pbx: &ScriptedPbx) -> Result<()> {
    let register = pbx.hear("REGISTER")?;
    let field = |name| register.message.field(name).unwrap_or_default();
    let contact = field("Contact");
    ensure!(
        contact.contains(";+sip.instance=") && contact.contains(";reg-id=1"),
        "{contact}"
    );
    ensure!(
        field("Supported").contains("outbound"),
        "{}",
        register.message
    );
    let granted = pbx
        .response(&register, "200 OK")
        .with("Contact", contact)
        .with("Require", "outbound")
        .with("Flow-Timer", "1");
    pbx.answer(&register, &granted)
}

/// Waits until the phone has been told this address in answer to so many requests.
fn told(scene: &Scene<'_>, address: SocketAddrV4, times: usize) -> Result<()> {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let told = scene.capture.at(Tap::Phone(0, 0), Direction::In);
        let told: HashSet<_> = told
            .iter()
            .filter(|packet| {
                packet.source == PBX && mapped(&packet.payload) == Some(address.into())
            })
            .filter_map(|packet| transaction(&packet.payload))
            .collect();
        if told.len() >= times {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "told {address} {} times, not {times}",
            told.len()
        );
        thread::sleep(TRANSIT / 4);
    }
}

/// What a phone sends in one go for each test of the limit.
const FLOOD: u64 = 200;

/// Who asks too much gets so many answers at once, and then so many a second; others are answered as before.
#[test]
fn limit() -> Result<()> {
    const RATE: u64 = 20;
    const BURST: u64 = 50;
    play(PLAN, STUN, |scene| {
        let phone = scene.lab.phone();
        let socket = phone.netns.udp(phone.private)?;
        let start = Instant::now();
        let answered = flood(&socket)?;
        let seconds = start.elapsed().as_secs() + 1;
        ensure!(
            (BURST..=BURST + RATE * seconds).contains(&answered),
            "{answered} answers in {seconds} s"
        );
        ensure!(scene.count("stun_answered")? == answered, "other answers");
        ensure!(
            scene.count("stun_limited")? == FLOOD - answered,
            "others left out"
        );

        let other = scene.lab.public_phone.udp(PUBLIC_PHONE)?;
        ensure!(
            ask(&other, STUN_PORT.into())? == Some(PUBLIC_PHONE.into()),
            "the other one"
        );
        // In this time two are earned.
        thread::sleep(Duration::from_millis(100));
        ensure!(
            ask(&socket, STUN_PORT.into())? == Some(phone.public.into()),
            "never again"
        );
        Ok(())
    })
}

#[test]
fn no_limit() -> Result<()> {
    play(
        PLAN,
        With::Arguments(&["--stun", "--stun-rate", "0", "--xdp", "native"]),
        |scene| {
            let phone = scene.lab.phone();
            let answered = flood(&phone.netns.udp(phone.private)?)?;
            ensure!(answered == FLOOD, "{answered} answers");
            ensure!(scene.count("stun_limited")? == 0, "some were left out");
            Ok(())
        },
    )
}

/// An answer to a private address would go to somebody else's network, unless it is the one that the PBX is in.
#[test]
fn private_source() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.lab.pbx.udp(STUN_PORT)?;
        pbx.set_read_timeout(Some(SOON))?;
        let spoofed = Ipv4Addr::new(10, 9, 9, 9);
        scene.lab.isp.ip(&format!("addr add {spoofed}/32 dev lo"))?;
        let socket = scene.lab.isp.udp((spoofed, PBX.port()))?;
        ensure!(ask(&socket, STUN_PORT.into())?.is_none(), "it was answered");
        // The PBX may do what it likes.
        receive(&pbx, &mut [0; 2048]).context("it was not passed on")?;
        ensure!(scene.count("stun_bad_source")? == 1, "not for that reason");
        ensure!(scene.lab.dropped()?.private == 0, "an answer was sent");

        let [near, here] = [20, 1].map(|host| Ipv4Addr::new(192, 168, 77, host));
        scene
            .lab
            .neighbour
            .ip(&format!("addr add {near}/24 dev eth0"))?;
        scene.lab.pbx.ip(&format!("addr add {here}/24 dev eth0"))?;
        let socket = scene.lab.neighbour.udp((near, PBX.port()))?;
        // The agent sees new addresses soon.
        let deadline = Instant::now() + SOON;
        while ask(&socket, (here, stun::PORT).into())? != Some((near, PBX.port()).into()) {
            ensure!(Instant::now() < deadline, "not answered in its own subnet");
        }
        Ok(())
    })
}

/// What the PBX's host forwards is not for it.
#[test]
fn forwarded() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let server = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 20), stun::PORT);
        let lab = scene.lab;
        lab.isp
            .ip(&format!("route add {} via {}", server.ip(), PBX.ip()))?;
        lab.pbx.sysctl("ipv4/ip_forward", "1")?;
        lab.pbx
            .ip(&format!("route add {} via {NEIGHBOUR}", server.ip()))?;
        lab.neighbour
            .ip(&format!("addr add {}/32 dev lo", server.ip()))?;
        let server_socket = lab.neighbour.udp(server)?;
        server_socket.set_read_timeout(Some(SOON))?;

        let socket = lab.public_phone.udp(PUBLIC_PHONE)?;
        ensure!(ask(&socket, server.into())?.is_none(), "it was answered");
        let mut buffer = [0; 2048];
        let (length, source) = receive(&server_socket, &mut buffer).context("not forwarded")?;
        ensure!(
            source == PUBLIC_PHONE.into() && stun::is_request(&buffer[..length]),
            "{source}"
        );
        ensure!(scene.count("stun_not_here")? == 1, "not for that reason");
        Ok(())
    })
}

/// Sends requests in one go; how many are answered.
fn flood(socket: &UdpSocket) -> Result<u64> {
    let mut answered = 0;
    let mut hear = || {
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = receive(socket, &mut buffer) {
            answered += u64::from(mapped(&buffer[..length]).is_some());
        }
    };
    socket.set_nonblocking(true)?;
    for _ in 0..FLOOD {
        socket.send_to(&stun::request(), STUN_PORT)?;
        // The socket has no room for all answers.
        hear();
    }
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(TRANSIT))?;
    hear();
    Ok(answered)
}

/// Sends one request; the mapped address, if it is answered.
fn ask(socket: &UdpSocket, server: SocketAddr) -> Result<Option<SocketAddr>> {
    let request = stun::request();
    socket.send_to(&request, server)?;
    socket.set_read_timeout(Some(TRANSIT))?;
    let mut buffer = [0; 2048];
    let Ok((length, source)) = receive(socket, &mut buffer) else {
        return Ok(None);
    };
    let response = &buffer[..length];
    let ours = source == server && transaction(response) == transaction(&request);
    ensure!(ours, "not the answer");
    Ok(mapped(response))
}
