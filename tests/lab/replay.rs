//! `sipnat replay`: captures of the lab, made without sipnat.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, Lab, PBX, Plan, Sipnat, StrictPbx,
    capture::{Capture, Direction, Packet, Tap},
    forge::{Checksum, Forger},
    netns::Netns,
    sipnat,
    sipp::{Scenario, Sipp},
};
use nat_userspace::host::capture::{self, Writer};
use serde_json::Value;

use crate::scene::{SOON, Scene, With, play};

/// Counters of packets that are none of SIP: ARP, ICMP.
const OTHERS: [&str; 4] = ["in_not_ip", "in_not_udp", "out_not_ip", "out_not_udp"];

/// Plays a call without sipnat, and returns the packets at the PBX.
pub(crate) fn captured(plan: Plan, scenario: impl FnOnce(&Scene<'_>)) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    play(plan, With::Nothing, |scene| {
        scenario(scene);
        packets = scene.capture.packets();
        Ok(())
    })?;
    packets.retain(|packet| packet.tap == Tap::Pbx);
    Ok(packets)
}

/// The phone calls. The PBX changes the session and hangs up, which does not reach the phone.
fn slide(scene: &Scene<'_>) {
    let call = || -> Result<()> {
        let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
        let _phone = Sipp::start(scene.lab.phone(), "1000", Scenario::Call)?;
        let call = pbx.call(SOON)?;
        for method in ["INVITE", "BYE"] {
            let lost = pbx.request(&call, method);
            ensure!(lost.is_err(), "{method} was answered without sipnat");
        }
        Ok(())
    };
    call().expect("the slide");
}

/// The phone registers with a private Contact, and calls. The PBX's requests are lost.
fn private(scene: &Scene<'_>) {
    let call = || -> Result<()> {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        phone.registers(&pbx)?;
        let call = Call::from(&phone, &pbx)?;
        // A transaction has three transmissions.
        for method in ["OPTIONS", "BYE"] {
            let request = call.pbx_request(method);
            for pause in [0, 500, 1000] {
                thread::sleep(Duration::from_millis(pause));
                pbx.send(&request)?;
            }
        }
        Ok(())
    };
    call().expect("the call");
}

/// Writes packets to a file, as Ethernet.
pub(crate) fn save(packets: &[Packet], path: &Path) -> Result<()> {
    let mut writer = Writer::new(BufWriter::new(File::create(path)?), false)?;
    for packet in packets {
        let header = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
        let frame = [&header, &[8, 0][..], &packet.ip].concat();
        writer.write(packet.time.as_nanos() as u64, &frame, 0)?;
    }
    Ok(writer.finish()?)
}

pub(crate) fn replay(netns: &Netns, arguments: &[&str]) -> Result<Value> {
    let text = sipnat::command(netns, &[&["replay", "--json"], arguments].concat())?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// Returns the counters of a replay.
pub(crate) fn counters(report: &Value) -> Result<BTreeMap<String, u64>> {
    let counters = report["counters"].as_array().context("no counters")?;
    let pair = |it: &Value| Some((it["name"].as_str()?.to_owned(), it["packets"].as_u64()?));
    counters
        .iter()
        .map(|it| pair(it).with_context(|| it.to_string()))
        .collect()
}

#[test]
fn the_slide() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let [file, out] = ["calls.pcap", "out.pcap"].map(|name| directory.path().join(name));
    let [file_name, out_name] = [&file, &out].map(|path| path.to_str().unwrap_or_default());
    let packets = captured(Plan::default(), slide)?;
    save(&packets, &file)?;
    let lab = Lab::new(Plan::default())?;
    let report = replay(&lab.pbx, &[file_name, "--write", out_name])?;

    ensure!(
        report["pbx"]["addresses"][0] == "203.0.113.10",
        "{report:#}"
    );
    let told = report["calls"][0]["packets"]
        .as_array()
        .context("no call")?;
    let lost = ["INVITE", "BYE"].map(|method| {
        let of = |packet: &&Value| {
            packet["from"] == "pbx" && packet["method"] == method && packet["status"].is_null()
        };
        told.iter().filter(of).collect::<Vec<_>>()
    });
    // Without an answer, the addresses take turns.
    for requests in &lost {
        let verdicts = requests.iter().map(|request| &request["verdict"]);
        let turns = ["out_redirected_dialog", "out_unanswered"].iter().cycle();
        ensure!(
            requests.len() >= 3 && verdicts.zip(turns).all(|(verdict, turn)| verdict == turn),
            "{requests:#?}"
        );
        for request in requests {
            ensure!(
                request["meant"] == "60.17.196.2:5060" && request["learned"] == "60.17.196.2:49163",
                "{request:#}"
            );
        }
    }
    let mut went = Vec::new();
    capture::read(capture::open(&out)?, |packet| {
        let ip = capture::Ip::of(packet.frame).context("no IP")?;
        let [from, to] = ip.ends();
        went.extend((from == PBX.into()).then_some(to));
        Ok(())
    })?;
    let sent: Vec<_> = packets
        .iter()
        .filter(|packet| packet.source == PBX)
        .collect();
    ensure!(went.len() == sent.len(), "{} of {}", went.len(), sent.len());
    let moved = sent
        .iter()
        .zip(&went)
        .filter(|(sent, went)| SocketAddr::from(sent.destination) != **went);
    let phone = SocketAddr::from(lab.phone().public);
    let redirected = moved.clone().count();
    ensure!(
        moved.into_iter().all(|(_, went)| *went == phone),
        "{went:?}"
    );
    let expected: usize = lost.iter().map(|requests| requests.len().div_ceil(2)).sum();
    ensure!(
        redirected == expected,
        "{redirected} redirected, not {expected}"
    );

    let text = sipnat::command(&lab.pbx, &["replay", file_name])?;
    let end = format!(
        "sipnat would redirect {redirected} of the PBX's {} SIP messages",
        sent.len()
    );
    ensure!(text.contains(&end), "{text}");
    Ok(())
}

/// Sends packets of a capture once more, at their times: those of the PBX from its host, the others from the provider.
fn send_again(lab: &Lab, packets: &[Packet]) -> Result<()> {
    let [pbx, isp] = [Forger::open(&lab.pbx)?, Forger::open(&lab.isp)?];
    let first = packets.first().context("no packets")?.time;
    let started = Instant::now();
    for packet in packets {
        let at = started + packet.time.saturating_sub(first);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let sender = match packet.direction {
            Direction::Out => &pbx,
            Direction::In => &isp,
        };
        let (source, destination) = (packet.source, packet.destination);
        sender.send_bytes(&packet.payload, source, destination, Checksum::Right)?;
    }
    Ok(())
}

/// Counters of an agent that sees the packets of a capture, but for those of other packets.
fn at_work(lab: &Lab, packets: &[Packet]) -> Result<BTreeMap<String, u64>> {
    // What arrives is taken, so that the host answers nothing by ICMP.
    let _socket = lab.pbx.udp(PBX)?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    send_again(lab, packets)?;
    thread::sleep(Duration::from_millis(200));
    let stats = sipnat.json(&["stats"])?;
    sipnat.stop()?;
    let stats = stats.as_object().context("no object")?;
    let counters = stats
        .iter()
        .map(|(name, count)| (name, count.as_u64().unwrap_or_default()));
    Ok(counters
        .filter(|(name, count)| *count > 0 && !OTHERS.contains(&name.as_str()))
        .map(|(name, count)| (name.clone(), count))
        .collect())
}

/// An agent at work decides as the replay does.
#[test]
fn an_agent_decides_the_same() -> Result<()> {
    for (plan, scenario) in [
        (Plan::default(), slide as fn(&Scene<'_>)),
        (Plan::PLAIN_NAT, private),
    ] {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("calls.pcap");
        let mut packets = captured(plan, scenario)?;
        packets.retain(|packet| packet.sip().is_some());
        save(&packets, &file)?;
        let lab = Lab::new(plan)?;
        let live = at_work(&lab, &packets)?;
        let file = file.to_str().context("a path")?;
        let report = replay(&lab.pbx, &[file, "--on-link", "203.0.113.0/24"])?;
        let replayed = counters(&report)?;
        ensure!(replayed == live, "replayed {replayed:#?}\nlive {live:#?}");
        let redirected = live
            .iter()
            .filter(|(name, _)| name.starts_with("out_redirected"));
        let redirected: u64 = redirected.map(|(_, count)| count).sum();
        ensure!(redirected > 0, "{live:#?}");
    }
    Ok(())
}

/// Nothing is attached or pinned, and an agent at work is left alone.
#[test]
fn it_touches_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("calls.pcap");
    let packets = captured(Plan::default(), slide)?;
    save(&packets, &file)?;
    let file = file.to_str().context("a path")?;
    let lab = Lab::new(Plan::default())?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    let before = sipnat.json(&["bindings", "list"])?;
    let capture: Capture = lab.capture()?;
    replay(&lab.pbx, &[file])?;
    ensure!(
        !capture
            .packets()
            .iter()
            .any(|packet| packet.sip().is_some()),
        "it sent SIP"
    );
    ensure!(sipnat.json(&["bindings", "list"])? == before);
    let stats = sipnat.json(&["stats"])?;
    ensure!(
        stats["in_request"] == 0 && stats["out_redirected_dialog"] == 0,
        "{stats:#}"
    );
    sipnat.stop()
}

/// Errors name the file and what to do.
#[test]
fn what_cannot_be_replayed() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("broken.pcap");
    let name = file.to_str().context("a path")?;
    let error = |content: &[u8], arguments: &[&str]| -> Result<String> {
        std::fs::write(&file, content)?;
        let run = sipnat::command(&lab.pbx, &[&["replay", name], arguments].concat());
        Ok(format!("{:#}", run.err().context("no error")?))
    };
    let mut empty = Vec::new();
    Writer::new(&mut empty, false)?.finish()?;
    for (content, arguments, expected) in [
        (&b""[..], &[][..], "broken.pcap is empty"),
        (b"SIP/2.0 200 OK", &[], "broken.pcap is not a capture"),
        (&empty, &[], "broken.pcap: no SIP message over UDP"),
        (&empty, &["--pbx", "192.0.2.1"], "no packet of the capture"),
        (
            &[&empty, &[0xff; 16][..]].concat(),
            &[],
            "malformed after packet 0",
        ),
        (
            &empty,
            &["--pbx", "pbx.example.com"],
            "name an address such as",
        ),
        (
            &empty,
            &["--media-ports", "1-2"],
            "has no effect without --media",
        ),
    ] {
        let error = error(content, arguments)?;
        ensure!(error.contains(expected), "{expected}: {error}");
    }
    Ok(())
}
