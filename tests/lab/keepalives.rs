//! sipnat keeps the NAT mappings of registered phones open.

use std::{
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Lab, PBX, Plan, ScriptedPbx, Sipnat, Terminal,
    baresip::Baresip,
    capture::{Direction, Packet, Tap},
    lab::PBX_V6,
    netns::receive,
    sip::Message,
    unique::unique,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::{SOON, Scene, With, play, play_in};

/// Interval of keepalives, the shortest there is.
const INTERVAL: Duration = Duration::from_secs(5);
/// Seconds for which the NATs of these tests keep a mapping.
const MAPPING: &str = "8";
/// A pause after which such a NAT has forgotten.
const PAUSE: Duration = Duration::from_secs(18);

const OPTIONS: With = With::Arguments(&OPTIONS_ARGS);
const OPTIONS_ARGS: [&str; 3] = [
    "--keepalive=options",
    "--keepalive-interval=5",
    "--keepalive-misses=1",
];

/// Makes the router of the lab forget mappings soon.
fn forgets(lab: &Lab) -> Result<()> {
    let router = &lab.sites[0].router;
    router.sysctl("netfilter/nf_conntrack_udp_timeout", MAPPING)?;
    router.sysctl("netfilter/nf_conntrack_udp_timeout_stream", MAPPING)
}

/// A phone that only answers OPTIONS, for a time.
fn answers_options(phone: &Terminal, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        // CRLF and zero bytes are no message.
        if let Ok(Some(heard)) = phone.ua.listen(left) {
            ensure!(heard.message.method() == "OPTIONS", "{}", heard.message);
            ensure!(heard.source == PBX, "from {}", heard.source);
            phone.respond(&heard, "200 OK", "phone")?;
        }
    }
    Ok(())
}

/// Returns the packets that have arrived at the phone and begin with `start`.
fn arrived(scene: &Scene<'_>, start: &[u8]) -> Vec<Packet> {
    let mut packets = scene.capture.at(Tap::Phone(0, 0), Direction::In);
    packets.retain(|packet| packet.payload.starts_with(start));
    packets
}

/// The phone registers and falls silent for longer than its NAT waits. Then the PBX calls it.
fn is_called_after_a_pause(scene: &Scene<'_>) -> Result<()> {
    forgets(scene.lab)?;
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let contact = phone.registers(&pbx)?;
    answers_options(&phone, PAUSE)?;
    // No answer of the phone has reached the PBX.
    pbx.ua.heard_all()?;
    pbx.send(&pbx.request("INVITE", &contact, &phone.aor))?;
    let rings =
        |packet: &Packet| packet.tap == Tap::Phone(0, 0) && packet.payload.starts_with(b"INVITE");
    scene
        .capture
        .wait_for(SOON, rings)
        .context("the phone does not ring")?;
    Ok(())
}

#[test]
fn a_silent_phone_rings_with_keepalives_of_each_kind() -> Result<()> {
    for (kind, start) in [
        (
            "--keepalive=options",
            &b"OPTIONS sip:1000@192.168.1.10:5060 SIP/2.0"[..],
        ),
        ("--keepalive=crlf", b"\r\n\r\n"),
        ("--keepalive=udp", &[0; 4]),
    ] {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        play_in(&lab, With::Nothing, |scene| {
            let sipnat = Sipnat::start(&scene.lab.pbx, &[kind, "--keepalive-interval=5"])?;
            is_called_after_a_pause(scene).context(kind)?;
            let keepalives = arrived(scene, start);
            ensure!(
                (3..=4).contains(&keepalives.len()),
                "{kind}: {keepalives:#?}"
            );
            ensure!(keepalives.iter().all(|packet| packet.source == PBX));
            let stats = sipnat.json(&["stats"])?;
            let is = |counter: &str| stats[counter].as_u64().unwrap_or_default() as usize;
            let expected = if kind.ends_with("options") {
                keepalives.len()
            } else {
                0
            };
            let counted = ["keepalive_sent", "keepalive_answered", "keepalive_stray"].map(is);
            ensure!(counted == [expected, expected, 0], "{kind}: {counted:?}");
            sipnat.stop()
        })?;
    }
    Ok(())
}

/// Without keepalives its NAT has forgotten it, and sipnat knows only where it was.
#[test]
fn a_silent_phone_does_not_ring_without_keepalives() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let Err(error) = is_called_after_a_pause(scene) else {
            anyhow::bail!("it rang without keepalives");
        };
        ensure!(format!("{error:#}").contains("does not ring"), "{error:#}");
        ensure!(arrived(scene, b"OPTIONS").is_empty());
        Ok(())
    })
}

/// Waits until the only contact is as wanted.
fn wait_for(
    scene: &Scene<'_>,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + limit;
    loop {
        let contact = scene.binding("contact")?;
        if wanted(&contact) {
            return Ok(contact);
        }
        ensure!(Instant::now() < deadline, "not {what}: {contact:#}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn registered(scene: &Scene<'_>) -> Result<(ScriptedPbx, Terminal)> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    phone.registers(&pbx)?;
    Ok((pbx, phone))
}

#[test]
fn a_dead_phone_is_silent_until_it_answers() -> Result<()> {
    play(Plan::PLAIN_NAT, OPTIONS, |scene| {
        let (pbx, phone) = registered(scene)?;
        answers_options(&phone, INTERVAL + SOON)?;
        let contact = scene.binding("contact")?;
        let micros = contact["round_trip_microseconds"].as_u64();
        ensure!(
            micros.is_some_and(|micros| (1..1_000_000).contains(&micros)),
            "{contact:#}"
        );
        ensure!(contact["silent"] == false, "{contact:#}");
        let text = scene.sipnat()?.command(&["bindings", "show", "1000"])?;
        ensure!(text.contains("answers in "), "{text}");

        wait_for(scene, "silent", 3 * INTERVAL, |contact| {
            contact["silent"] == true
        })?;
        let text = scene.sipnat()?.command(&["bindings", "list"])?;
        ensure!(text.contains("active (silent)"), "{text}");
        // It is asked more rarely, but still. Once it answers, it is asked as often as before, and at once: its NAT may have
        // forgotten it soon.
        phone.ua.forget()?;
        let heard = phone.ua.listen(2 * INTERVAL + SOON)?;
        let heard = heard.context("it was not asked")?;
        phone.respond(&heard, "200 OK", "phone")?;
        wait_for(scene, "there", INTERVAL, |contact| {
            contact["silent"] == false
        })?;
        let again = phone.ua.listen(INTERVAL)?;
        ensure!(again.is_some(), "it was not asked again");
        pbx.ua.heard_all()
    })
}

/// What cannot be sent draws no answer, so the time of the last one says nothing any more. With a route again, all is as before.
#[test]
fn a_host_without_a_route() -> Result<()> {
    play(Plan::PLAIN_NAT, OPTIONS, |scene| {
        let (_pbx, phone) = registered(scene)?;
        answers_options(&phone, INTERVAL + SOON)?;
        let answers = |contact: &Value| contact["round_trip_microseconds"].is_u64();
        wait_for(scene, "answered", INTERVAL, answers)?;
        let mut show = Command::new("ip");
        show.args(["route", "show", "default"]);
        let routes = scene.lab.pbx.run(&mut show, "")?;
        let route = routes.trim();
        scene.lab.pbx.ip(&format!("route del {route}"))?;
        wait_for(scene, "unknown", 3 * INTERVAL, |contact| {
            contact["round_trip_microseconds"].is_null() && contact["silent"] == false
        })?;
        scene.lab.pbx.ip(&format!("route add {route}"))?;
        answers_options(&phone, INTERVAL + SOON)?;
        wait_for(scene, "answered again", INTERVAL, answers)?;
        Ok(())
    })
}

/// sipnat redirects nothing to it, so its learned address gets nothing from sipnat either. Without the rule it is asked.
#[test]
fn a_phone_with_the_policy_off_gets_none() -> Result<()> {
    play(Plan::PLAIN_NAT, OPTIONS, |scene| {
        let sipnat = scene.sipnat()?;
        sipnat.command(&["policy", "set", "60.17.196.2", "off"])?;
        let (_pbx, phone) = registered(scene)?;
        thread::sleep(3 * INTERVAL);
        ensure!(arrived(scene, b"OPTIONS").is_empty());
        sipnat.command(&["policy", "remove", "60.17.196.2"])?;
        let asked = phone.ua.listen(2 * INTERVAL)?;
        ensure!(asked.is_some(), "it was not asked without the rule");
        Ok(())
    })
}

/// baresip keeps itself alive by STUN, every second.
#[test]
fn a_phone_that_keeps_itself_alive_gets_none() -> Result<()> {
    let plan = Plan {
        xdp_replies: true,
        ..Plan::PLAIN_NAT
    };
    let args = [
        "--stun",
        "--xdp=native",
        "--keepalive=options",
        "--keepalive-interval=5",
    ];
    let lab = Lab::new(plan)?;
    play_in(&lab, With::Nothing, |scene| {
        let sipnat = Sipnat::start(&scene.lab.pbx, &args)?;
        let pbx = scene.pbx()?;
        let _phone = Baresip::start_outbound(scene.lab.phone(), "1000")?;
        let register = pbx.hear("REGISTER")?;
        let contact = register.message.field("Contact").context("no Contact")?;
        let granted = pbx
            .response(&register, "200 OK")
            .with("Contact", contact)
            .with("Require", "outbound")
            .with("Flow-Timer", "1");
        pbx.answer(&register, &granted)?;
        thread::sleep(3 * INTERVAL);
        let stats = sipnat.json(&["stats"])?;
        ensure!(stats["keepalive_sent"] == 0, "{stats:#}");
        ensure!(stats["stun_answered"].as_u64() > Some(9), "{stats:#}");
        sipnat.stop()
    })
}

/// CRLF from a registered phone is a keepalive of its own (RFC 5626 3.5.1). When it ends, sipnat begins.
#[test]
fn a_phone_that_sends_crlf_gets_none() -> Result<()> {
    play(Plan::PLAIN_NAT, OPTIONS, |scene| {
        let (_pbx, phone) = registered(scene)?;
        // Its socket is free.
        drop(phone);
        let host = scene.lab.phone();
        let socket = host.netns.udp(host.private)?;
        for _ in 0..15 {
            socket.send_to(b"\r\n\r\n", PBX)?;
            thread::sleep(Duration::from_secs(1));
        }
        ensure!(scene.count("keepalive_sent")? == 0, "it was asked");
        ensure!(scene.count("in_keepalive")? == 15, "no keepalives");
        drop(socket);
        let phone = scene.terminal(0, 0, "1000")?;
        answers_options(&phone, INTERVAL + SOON)?;
        ensure!(scene.count("keepalive_answered")? > 0, "it was not asked");
        Ok(())
    })
}

/// A real phone answers, and goes on registered.
#[test]
fn baresip_answers() -> Result<()> {
    play(Plan::PLAIN_NAT, OPTIONS, |scene| {
        let pbx = scene.pbx()?;
        let _phone = Baresip::start(scene.lab.phone(), "1000", None)?;
        let register = pbx.hear("REGISTER")?;
        let contact = register.message.field("Contact").context("no Contact")?;
        let granted = pbx
            .response(&register, "200 OK")
            .with("Contact", format!("{contact};expires=60"));
        pbx.answer(&register, &granted)?;
        wait_for(scene, "answered", INTERVAL + SOON, |contact| {
            contact["round_trip_microseconds"].is_u64()
        })?;
        pbx.ua.heard_all()
    })
}

/// The next agent goes on where a killed one stopped.
#[test]
fn a_restart_of_the_agent() -> Result<()> {
    let args = ["--keep", "--keepalive=options", "--keepalive-interval=5"];
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    play_in(&lab, With::Nothing, |scene| {
        let agent = Sipnat::start(&scene.lab.pbx, &args)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        phone.registers(&pbx)?;
        answers_options(&phone, INTERVAL + SOON)?;
        agent.end(Signal::SIGKILL)?;
        let agent = Sipnat::start(&scene.lab.pbx, &args)?;
        let row = |agent: &Sipnat<'_>| -> Result<Value> {
            let list = agent.json(&["bindings", "list"])?;
            Ok(list["bindings"][0]["round_trip_microseconds"].clone())
        };
        ensure!(row(&agent)?.is_u64(), "the round-trip time is forgotten");
        let before = arrived(scene, b"OPTIONS").len();
        answers_options(&phone, INTERVAL + SOON)?;
        ensure!(arrived(scene, b"OPTIONS").len() > before, "it stopped");
        pbx.ua.heard_all()?;
        agent.end(Signal::SIGTERM)?;
        Sipnat::start(&scene.lab.pbx, &[])?.stop()
    })
}

/// The operator changes his mind.
#[test]
fn a_reload() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    play_in(&lab, With::Nothing, |scene| {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("sipnat.toml");
        let write = |rules: &str| {
            let text = format!("iface = \"eth0\"\nkeepalive = {rules}\nkeepalive-interval = 5\n");
            std::fs::write(&file, text)
        };
        write("[\"options\", \"198.51.100.0/24=off\"]")?;
        let config = file.to_str().context("a path")?;
        let agent = Sipnat::start(&scene.lab.pbx, &["--config", config])?;
        let (_pbx, phone) = registered(scene)?;
        let is_asked = |packet: &Packet| {
            packet.tap == Tap::Phone(0, 0) && packet.payload.starts_with(b"OPTIONS")
        };
        scene
            .capture
            .wait_for(INTERVAL + SOON, is_asked)
            .context("no OPTIONS")?;
        write("[\"options\", \"60.17.196.0/24=off\"]")?;
        let said = agent.command(&["reload"])?;
        ensure!(said.contains("keepalive"), "{said}");
        thread::sleep(Duration::from_secs(3));
        let before = arrived(scene, b"OPTIONS").len();
        thread::sleep(2 * INTERVAL);
        ensure!(arrived(scene, b"OPTIONS").len() == before, "they go on");
        // All off, and on again.
        for rules in ["[\"off\"]", "[\"options\"]"] {
            write(rules)?;
            let said = agent.command(&["reload"])?;
            ensure!(!said.contains("restart"), "{said}");
        }
        phone.ua.forget()?;
        let asked = phone.ua.listen(INTERVAL + SOON)?;
        ensure!(asked.is_some(), "it is not asked again");
        agent.stop()
    })
}

/// Address of the phone, behind a NAT of IPv6, and of the PBX.
const PHONE_V6: SocketAddrV6 = {
    let ip = Ipv6Addr::new(0xfd00, 0x192, 0x168, 1, 0, 0, 0, 0x10);
    SocketAddrV6::new(ip, 5060, 0, 0)
};
const HERE_V6: SocketAddrV6 = SocketAddrV6::new(PBX_V6, 5060, 0, 0);

/// Waits for a message, if it comes. Returns it with its source.
fn hears_v6(socket: &UdpSocket, limit: Duration) -> Result<Option<(Message, SocketAddr)>> {
    socket.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
    let mut buffer = [0; 4096];
    let Ok((length, source)) = receive(socket, &mut buffer) else {
        return Ok(None);
    };
    let message = Message::parse(&buffer[..length]).context("what came is not SIP")?;
    Ok(Some((message, source)))
}

/// A phone behind a NAT of IPv6 registers, and falls silent for longer than its NAT waits. Returns the number of OPTIONS that it
/// answered, and whether a call reaches it then.
fn is_called_by_ipv6(scene: &Scene<'_>) -> Result<(usize, bool)> {
    forgets(scene.lab)?;
    let pbx = scene.lab.pbx.udp(HERE_V6)?;
    let phone = scene.lab.phone().netns.udp(PHONE_V6)?;
    let request = |method: &str, target: &str, from: &str, sender: SocketAddrV6| {
        Message::new(format!("{method} {target} SIP/2.0"))
            .with(
                "Via",
                format!("SIP/2.0/UDP {sender};branch=z9hG4bK{}", unique()),
            )
            .with("From", format!("<{from}>;tag={}", unique()))
            .with("To", "<sip:1000@pbx>")
            .with("Call-ID", format!("{}@{}", unique(), sender.ip()))
            .with("CSeq", format!("1 {method}"))
    };
    let contact = format!("sip:1000@{PHONE_V6}");
    let register = request("REGISTER", "sip:pbx", "sip:1000@pbx", PHONE_V6)
        .with("Contact", format!("<{contact}>"));
    phone.send_to(register.to_string().as_bytes(), HERE_V6)?;
    let (heard, source) = hears_v6(&pbx, SOON)?.context("no REGISTER")?;
    let mut ok =
        Message::response(&heard, "200 OK").with("Contact", format!("<{contact}>;expires=60"));
    ok.field_mut("To").context("no To")?.push_str(";tag=pbx");
    pbx.send_to(ok.to_string().as_bytes(), source)?;
    let (heard, _) = hears_v6(&phone, SOON)?.context("no 200")?;
    ensure!(heard.status() == Some(200), "{heard}");

    let (until, mut asked) = (Instant::now() + PAUSE, 0);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let Some((options, source)) = hears_v6(&phone, left)? else {
            continue;
        };
        ensure!(options.request_uri() == contact, "{options}");
        ensure!(source == SocketAddr::from(HERE_V6), "from {source}");
        let ok = Message::response(&options, "200 OK");
        phone.send_to(ok.to_string().as_bytes(), source)?;
        asked += 1;
    }
    let none = hears_v6(&pbx, Duration::ZERO)?;
    ensure!(none.is_none(), "the PBX heard {none:?}");
    let invite = request("INVITE", &contact, "sip:2000@pbx", HERE_V6);
    // A host that got "no route" reports it at the next call.
    let _ = pbx.send_to(invite.to_string().as_bytes(), PHONE_V6);
    let rings = hears_v6(&phone, SOON)?.is_some_and(|(heard, _)| heard.method() == "INVITE");
    Ok((asked, rings))
}

#[test]
fn a_silent_phone_behind_ipv6() -> Result<()> {
    const PLAN: Plan = Plan {
        ipv6: true,
        ..Plan::PLAIN_NAT
    };
    play(PLAN, OPTIONS, |scene| {
        let (asked, rings) = is_called_by_ipv6(scene)?;
        ensure!(
            (3..=4).contains(&asked) && rings,
            "asked {asked} times, rings: {rings}"
        );
        let contact = scene.binding("contact")?;
        ensure!(contact["round_trip_microseconds"].is_u64(), "{contact:#}");
        let counts = ["keepalive_sent", "keepalive_answered", "keepalive_stray"];
        let counted = counts.map(|name| scene.count(name).unwrap_or(99));
        ensure!(counted == [asked as u64, asked as u64, 0], "{counted:?}");
        Ok(())
    })?;
    play(PLAN, With::Sipnat, |scene| {
        let (asked, rings) = is_called_by_ipv6(scene)?;
        ensure!(
            asked == 0 && !rings,
            "without keepalives: asked {asked} times, rings: {rings}"
        );
        Ok(())
    })
}
