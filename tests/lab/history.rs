//! The story of a call, after so much junk as ten minutes bring.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use etherparse::PacketBuilder;
use nat_test_support::{Call, PBX, Plan};
use nat_userspace::kernel::{load::Programs as _, pins::Pinned, tables::Tables};
use serde_json::Value;

use crate::scene::{Scene, With, play};

/// Messages of ten minutes, 10,000 a second. The PBX answers each.
const JUNK: u32 = 10 * 60 * 10_000;
/// Answers to a request: one that is repeated is a system call less.
const ANSWERS: u32 = 1000;
/// Requests of strangers and the PBX's answers.
const KINDS: [(&str, &str, &str); 4] = [
    ("INVITE", "", "401 Unauthorized"),
    ("REGISTER", "", "401 Unauthorized"),
    ("OPTIONS", ";tag=stranger", "200 OK"),
    (
        "BYE",
        ";tag=stranger",
        "481 Call/Transaction Does Not Exist",
    ),
];

/// Returns the frame of a message.
fn frame(from: SocketAddrV4, to: SocketAddrV4, message: &str) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(from.ip().octets(), to.ip().octets(), 64)
        .udp(from.port(), to.port());
    let mut frame = Vec::with_capacity(builder.size(message.len()));
    builder.write(&mut frame, message.as_bytes())?;
    Ok(frame)
}

/// Passes the junk and the answers to it through the programs that are attached.
fn flood(programs: &mut Pinned) -> Result<()> {
    for n in 0..JUNK / ANSWERS {
        let (method, tag, status) = KINDS[n as usize % KINDS.len()];
        let stranger = SocketAddrV4::new((0xc612_0000 | n).into(), 6666);
        let headers = |to_tag: &str| {
            format!(
                "Via: SIP/2.0/UDP {stranger};branch=z9hG4bK-junk-{n}\r\n\
                 From: <sip:1000@203.0.113.10>;tag=junk-{n}\r\n\
                 To: <sip:2000@203.0.113.10>{to_tag}\r\n\
                 Call-ID: junk-{n}\r\n\
                 CSeq: 1 {method}\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        };
        let request = format!(
            "{method} sip:2000@203.0.113.10 SIP/2.0\r\nContact: <sip:1000@{stranger}>\r\n{}",
            headers(tag)
        );
        let answer_tag = if tag.is_empty() { ";tag=pbx" } else { tag };
        let answer = format!("SIP/2.0 {status}\r\n{}", headers(answer_tag));
        programs.ingress()?.test_run(TestRunOptions {
            data_in: Some(&frame(stranger, PBX, &request)?),
            ..TestRunOptions::default()
        })?;
        programs.egress()?.test_run(TestRunOptions {
            data_in: Some(&frame(PBX, stranger, &answer)?),
            repeat: ANSWERS,
            ..TestRunOptions::default()
        })?;
    }
    Ok(())
}

fn packets(scene: &Scene<'_>, call: &str) -> Result<Vec<Value>> {
    let mut story = scene.sipnat()?.json(&["explain", call])?;
    match story["packets"].take() {
        Value::Array(mut packets) => {
            // The calendar's clock may be a millisecond apart from the programs'.
            packets
                .iter_mut()
                .for_each(|packet| packet["at"] = Value::Null);
            Ok(packets)
        }
        other => anyhow::bail!("no packets, but {other}"),
    }
}

#[test]
fn a_call_is_explained_from_its_beginning_after_ten_minutes_of_junk() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        phone.registers(&pbx)?;
        let call = Call::from(&phone, &pbx)?;
        call.reaches_phone("INVITE")?;
        let before = packets(scene, &call.call_id)?;
        let first = before.first().context("no packets")?;
        ensure!(
            first["method"] == "INVITE" && first["events"][0]["name"] == "dialog_activated",
            "{first:#}"
        );

        let pins = scene.sipnat()?.pins()?;
        let tables = Tables::open(&pins)?;
        let written = || Ok::<_, anyhow::Error>(tables.written.get(&0, 0)?);
        let already = written()?;
        flood(&mut Pinned::open(&pins)?)?;
        let junk = written()? - already;
        ensure!(junk >= u64::from(JUNK), "{junk} records of junk");

        let after = packets(scene, &call.call_id)?;
        ensure!(after == before, "{after:#?} instead of {before:#?}");
        Ok(())
    })
}
