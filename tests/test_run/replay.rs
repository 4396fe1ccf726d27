//! `sipnat replay`: captures through the programs, at the times of their packets.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use etherparse::{LaxSlicedPacket, TransportSlice};
use nat_common::abi::{Counter, CounterKind, Policy};
use nat_userspace::{
    host::capture::{self, Link},
    replay::Replay,
    settings::Settings,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::frames::{
    ADVERTISED, CALL, INVITE, OTHER_PHONE, PBX, PHONE, PRIVATE, REGISTER, STRANGER, ack, answer,
    checksums_are_right, in_dialog, inbound, outbound, tagged, udp,
};
use crate::run::Path as DataPath;

/// A packet of a capture: its time in milliseconds, and its Ethernet frame.
type Packet = (u64, Vec<u8>);

/// A link layer of captures, and how its frames are made of Ethernet ones.
type Layer = (u16, fn(&[u8]) -> Vec<u8>);

const ETHERNET: Layer = (1, <[u8]>::to_vec);
const RAW: Layer = (101, |frame| frame[14..].to_vec());
const COOKED: Layer = (113, |frame| {
    // Its type, an Ethernet device, the sender's address, and the EtherType.
    [&[0, 0, 0, 1, 0, 6], &frame[6..12], &[0, 0], &frame[12..]].concat()
});
const COOKED2: Layer = (276, |frame| {
    let head = [&frame[12..14], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6]].concat();
    [&head[..], &frame[6..12], &[0, 0], &frame[14..]].concat()
});

/// Makes a pcap file. Of each frame, bytes beyond `longest` are missing.
fn pcap((link, convert): Layer, packets: &[Packet], longest: usize) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, link.into()]
        .map(u32::to_le_bytes)
        .concat();
    for (millis, frame) in packets {
        let frame = convert(frame);
        let held = &frame[..frame.len().min(longest)];
        let seconds = 1_700_000_000 + millis / 1000;
        let micros = millis % 1000 * 1000;
        for number in [seconds, micros, held.len() as u64, frame.len() as u64] {
            file.extend((number as u32).to_le_bytes());
        }
        file.extend(held);
    }
    file
}

/// Makes a pcapng file.
fn pcapng((link, convert): Layer, packets: &[Packet]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let len = (12 + body.len() + padding.len()) as u32;
        let len = len.to_le_bytes();
        [&kind.to_le_bytes(), &len, body, &padding, &len].concat()
    };
    let section = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    let interface = [&link.to_le_bytes()[..], &[0; 6]].concat();
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (millis, frame) in packets {
        let frame = convert(frame);
        let micros = 1_700_000_000_000_000 + millis * 1000;
        let len = frame.len() as u32;
        let head = [0, (micros >> 32) as u32, micros as u32, len, len].map(u32::to_le_bytes);
        file.extend(block(6, &[&head.concat(), &frame[..]].concat()));
    }
    file
}

/// Replays a file.
struct Player {
    directory: TempDir,
    replay: Replay,
}

impl Player {
    fn of(file: &[u8]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("calls.pcap");
        fs::write(&path, file).expect("a file");
        Self {
            replay: Replay {
                file: path,
                settings: Settings::default(),
                pbxs: Vec::new(),
                on_link: Vec::new(),
                write: None,
            },
            directory,
        }
    }

    fn written(&self) -> PathBuf {
        self.directory.path().join("out.pcap")
    }

    fn run(&self) -> Value {
        let report = self.replay.clone().run();
        let report = report.unwrap_or_else(|error| panic!("{error:#}"));
        serde_json::to_value(report).expect("JSON")
    }

    fn error(&self) -> String {
        let report = self.replay.clone().run();
        format!("{:#}", report.map(|_| ()).expect_err("an error"))
    }
}

/// Replays an Ethernet capture with the usual settings.
fn replayed(packets: &[Packet]) -> Value {
    Player::of(&pcap(ETHERNET, packets, usize::MAX)).run()
}

/// Verdicts of the packets of a call, each with its number.
fn verdicts(report: &Value, call: usize) -> Vec<(u64, &str)> {
    let packets = report["calls"][call]["packets"].as_array();
    let packets = packets.unwrap_or_else(|| panic!("no call {call}: {report:#}"));
    let verdict = |packet: &'_ Value| packet["packet"].as_u64().expect("a number");
    packets
        .iter()
        .map(|packet| {
            (
                verdict(packet),
                packet["verdict"].as_str().expect("a verdict"),
            )
        })
        .collect()
}

fn counter(report: &Value, name: &str) -> u64 {
    let counters = report["counters"].as_array().expect("counters");
    let counter = counters.iter().find(|counter| counter["name"] == name);
    counter.map_or(0, |counter| counter["packets"].as_u64().expect("a number"))
}

/// The slide's call: the ALG removes the port.
fn slide() -> Vec<Packet> {
    let ringing = answer(INVITE, "180 Ringing");
    let accepted = answer(INVITE, "200 OK");
    let re_invite = in_dialog("INVITE", "again");
    let answered = answer(&re_invite, "200 OK");
    vec![
        (0, inbound(PHONE, INVITE)),
        (10, outbound(PHONE, &ringing)),
        (2000, outbound(PHONE, &accepted)),
        (2040, inbound(PHONE, &ack())),
        (5000, outbound(ADVERTISED, &re_invite)),
        (5100, inbound(PHONE, &answered)),
        (9000, outbound(ADVERTISED, &in_dialog("BYE", "bye"))),
    ]
}

const SLIDE: [(u64, &str); 7] = [
    (1, "in_request"),
    (2, "out_already_there"),
    (3, "out_already_there"),
    (4, "in_ack"),
    (5, "out_redirected_dialog"),
    (6, "in_response"),
    (7, "out_redirected_dialog"),
];

#[test]
fn a_lost_request_is_redirected_in_captures_of_every_kind() {
    for (layer, file) in [
        (ETHERNET, pcap(ETHERNET, &slide(), usize::MAX)),
        (RAW, pcapng(RAW, &slide())),
        (COOKED, pcapng(COOKED, &slide())),
        (COOKED2, pcap(COOKED2, &slide(), usize::MAX)),
    ] {
        let report = Player::of(&file).run();
        assert_eq!(verdicts(&report, 0), SLIDE, "{}: {report:#}", layer.0);
        assert_eq!(report["pbx"]["addresses"][0], "203.0.113.10");
        assert_eq!(report["pbx"]["guessed_by"], 7);
        let call = &report["calls"][0];
        assert_eq!(call["call_id"], "call@192.168.1.10");
        assert_eq!(call["packets"][4]["meant"], ADVERTISED);
        assert_eq!(call["packets"][4]["learned"], PHONE);
        assert_eq!(call["packets"][0]["learned"], PHONE);
        assert_eq!(call["packets"][5]["at"], "2023-11-14T22:13:25.1Z");
        let binding = &call["bindings"][0];
        assert_eq!(binding["advertised"], ADVERTISED);
        assert_eq!(binding["learned"], PHONE);
        assert_eq!(binding["redirected"], 2);
    }
}

#[test]
fn people_read_the_same() {
    let player = Player::of(&pcap(ETHERNET, &slide(), usize::MAX));
    let report = player.replay.clone().run().expect("a report");
    let zone = jiff::tz::TimeZone::UTC;
    let text = report.render(&zone);
    for line in [
        "7 packets, Ethernet, 9 s from 2023-11-14 22:13:20.000",
        "PBX: 203.0.113.10, port 5060; guessed: it is one end of all 7 SIP messages there",
        "Call-ID call@192.168.1.10, 2023-11-14",
        "     5  22:13:25.000  PBX       INVITE         102",
        "in-dialog request, redirected by dialog end",
        "sipnat would redirect 2 of the PBX's 4 SIP messages",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// Without the clock of the capture, all packets would be of one moment.
#[test]
fn times_are_those_of_the_capture() {
    // A dialog end counts for 32 s after its BYE.
    let bye = answer(&in_dialog("BYE", "bye"), "200 OK");
    let infos = ["early", "late"].map(|branch| in_dialog("INFO", branch));
    let [early, late] = infos.map(|info| outbound(ADVERTISED, &info));
    let mut packets = slide();
    packets.extend([
        (9100, inbound(PHONE, &bye)),
        (40_000, early),
        (42_000, late.clone()),
    ]);
    // Programs that were not told of a capture have the time of this host.
    let mut path = DataPath::new();
    for (_, frame) in &packets {
        path.test(frame[30..34] == [203, 0, 113, 10], frame);
    }
    assert_eq!(path.sends(&late).2, "out_redirected_dialog");

    // A registration lasts an hour; the PBX's calls go to the phone in turn, until it has answered.
    let answered = answer(REGISTER, "200 OK");
    packets.push((0, inbound(PHONE, REGISTER)));
    packets.push((5, outbound(PHONE, &answered)));
    let hour = 3_600_000;
    for start in [1000, hour - 2000, hour + 2000] {
        let call = CALL.replace("incoming", &start.to_string());
        let call = call.replace("z9hG4bK-call", &format!("z9hG4bK-{start}"));
        packets.push((start, outbound(ADVERTISED, &call)));
        packets.push((start + 500, outbound(ADVERTISED, &call)));
    }
    packets.sort_by_key(|(at, _)| *at);
    let report = replayed(&packets);
    let calls = report["calls"].as_array().expect("calls");
    let turns = |name: &str| {
        let is_it = |call: &Value| call["call_id"].as_str().expect("a name").starts_with(name);
        let call = calls.iter().position(is_it).expect("a call");
        let verdicts = verdicts(&report, call).into_iter();
        let verdicts = verdicts.map(|(_, verdict)| verdict.to_owned());
        verdicts.collect::<Vec<_>>()
    };
    // Without the dialog there is still the registration.
    assert_eq!(
        turns("call@")[8..],
        ["out_redirected_dialog", "out_redirected_contact"]
    );
    assert_eq!(
        turns("1000"),
        ["out_original_first", "out_redirected_contact"]
    );
    assert!(turns("3598000").contains(&"out_redirected_contact".into()));
    assert_eq!(turns("3602000"), ["out_unknown_request"; 2]);
}

/// In a capture made without sipnat, what is repeated was not answered.
#[test]
fn a_repetition_counts_as_unanswered() {
    let mut packets = slide();
    let (_, re_invite) = packets[4].clone();
    packets.truncate(5);
    packets.extend([5500, 6500].map(|at| (at, re_invite.clone())));
    let player = Player::of(&pcap(ETHERNET, &packets, usize::MAX));
    let report = player.replay.clone().run().expect("a report");
    let text = report.render(&jiff::tz::TimeZone::UTC);
    assert!(text.contains("counts as unanswered"), "{text}");
    let report = serde_json::to_value(report).expect("JSON");
    let verdicts = verdicts(&report, 0)[4..].to_owned();
    let turns = [
        "out_redirected_dialog",
        "out_unanswered",
        "out_redirected_dialog",
    ];
    assert_eq!(
        verdicts,
        [5, 6, 7].into_iter().zip(turns).collect::<Vec<_>>()
    );
}

/// The programs that were not told of a capture decide the same on the same frames.
#[test]
fn verdicts_are_those_of_the_programs_at_work() {
    let mut path = DataPath::new();
    let packets: Vec<Packet> = slide().into_iter().map(|(_, frame)| (0, frame)).collect();
    let direct: Vec<_> = slide()
        .iter()
        .map(|(_, frame)| {
            let from_pbx = frame[26..30] == [203, 0, 113, 10];
            path.run(!from_pbx, frame)
        })
        .collect();
    let report = replayed(&packets);
    let expected: Vec<_> = direct.iter().map(|(_, _, verdict, _)| *verdict).collect();
    let found: Vec<_> = verdicts(&report, 0).into_iter().map(|(_, v)| v).collect();
    assert_eq!(found, expected);
    for event in Counter::ALL
        .iter()
        .filter(|c| c.kind() == CounterKind::Event)
    {
        let name = event.name();
        let events = direct.iter().flat_map(|(_, _, _, events)| events);
        let count = events.filter(|event| **event == name).count() as u64;
        assert_eq!(counter(&report, name), count, "{name}");
    }
}

/// Ends of the packets of a file.
fn ends(file: &Path) -> Vec<(Link, [String; 2], Vec<u8>)> {
    let mut all = Vec::new();
    let end = capture::read(fs::File::open(file).expect("a file"), |packet| {
        let frame = packet.link.to_ethernet(packet.frame, false).expect("IP");
        let ends = capture::Ip::of(&frame).expect("IP").ends();
        all.push((packet.link, ends.map(|end| end.to_string()), frame.to_vec()));
        Ok(())
    });
    assert_eq!(end.expect("a capture"), capture::End::Whole);
    all
}

#[test]
fn what_the_wire_would_have_carried_is_written() {
    for (layer, link) in [(ETHERNET, Link::Ethernet), (COOKED, Link::Raw)] {
        let mut packets = slide();
        packets.push((9100, udp(STRANGER, OTHER_PHONE, b"not of the PBX")));
        // With checksum offload, the PBX's host sees the sum of the pseudo-header.
        let bye = &mut packets[6].1;
        let partial = partial(bye);
        bye[40..42].copy_from_slice(&partial.to_be_bytes());
        let mut player = Player::of(&pcap(layer, &packets, usize::MAX));
        player.replay.write = Some(player.written());
        player.run();
        let written = ends(&player.written());
        assert_eq!(written.len(), packets.len());
        for (index, (of, [from, to], frame)) in written.iter().enumerate() {
            assert_eq!(*of, link);
            assert!(checksums_are_right(frame), "{index}");
            if [4, 6].contains(&index) {
                assert_eq!((from.as_str(), to.as_str()), (PBX, PHONE));
            } else {
                assert_eq!(frame[14..], packets[index].1[14..], "{index}");
            }
        }
        player.replay.write = Some(player.replay.file.clone());
        assert!(player.error().contains("is the capture itself"));
    }
}

/// Returns the sum of the pseudo-header of an IPv4 datagram.
fn partial(frame: &[u8]) -> u16 {
    let sliced = LaxSlicedPacket::from_ethernet(frame).expect("a frame");
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        panic!("no UDP");
    };
    let words = frame[26..34].chunks(2);
    let words = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>() + 17 + u32::from(udp.length());
    (sum + (sum >> 16)) as u16
}

/// A phone that advertises what it is reached at.
#[test]
fn a_call_that_needs_nothing_says_so() {
    let packets: Vec<Packet> = slide()
        .into_iter()
        .map(|(at, frame)| {
            let text = String::from_utf8(frame[42..].to_vec()).expect("SIP");
            let text = text.replace("sip:1000@60.17.196.2>", &format!("sip:1000@{PHONE}>"));
            let text = text.replace("sip:1000@60.17.196.2 ", &format!("sip:1000@{PHONE} "));
            let from_pbx = frame[26..30] == [203, 0, 113, 10];
            let frame = if from_pbx {
                outbound(PHONE, &text)
            } else {
                inbound(PHONE, &text)
            };
            (at, frame)
        })
        .collect();
    let player = Player::of(&pcap(ETHERNET, &packets, usize::MAX));
    let report = player.replay.clone().run().expect("a report");
    let text = report.render(&jiff::tz::TimeZone::UTC);
    let end = "nothing to redirect: the PBX sends all of its 4 SIP messages to the learned addresses by itself";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_is_not_replayed_is_counted() {
    let mut packets = slide();
    packets.insert(0, (0, udp(STRANGER, OTHER_PHONE, b"other")));
    packets.insert(1, (0, udp(PBX, PBX, b"itself")));
    packets.insert(2, (0, [&[0xff; 12][..], &[8, 6], &[0; 46]].concat()));
    // Of the INVITE and what follows, a part only.
    let longest = 100;
    let report = Player::of(&pcap(ETHERNET, &packets, longest)).error();
    assert!(report.contains("no SIP message over UDP"), "{report}");

    packets.push((100, inbound(PHONE, &in_dialog("INFO", "late"))));
    packets.push((10_000, outbound(PHONE, &"x".repeat(9000))));
    let report = replayed(&packets);
    let left_out = report["left_out"].as_array().expect("a list");
    let of = |reason: &str| {
        let found = left_out.iter().find(|it| it["reason"] == reason);
        found.map(|it| (it["packets"].as_u64(), it["first"].as_u64()))
    };
    assert_eq!(of("not_of_pbx"), Some((Some(1), Some(1))));
    assert_eq!(of("to_itself"), Some((Some(1), Some(2))));
    assert_eq!(of("not_ip"), Some((Some(1), Some(3))));
    assert_eq!(of("late"), Some((Some(1), Some(11))));
    assert_eq!(of("length"), Some((Some(1), Some(12))));
    assert_eq!(verdicts(&report, 0).len(), 8);

    let mut player = Player::of(&pcap(ETHERNET, &packets, longest));
    player.replay.pbxs = vec!["203.0.113.10".parse().expect("an address")];
    let report = player.run();
    let cut = &report["left_out"][0];
    assert_eq!(
        (&cut["reason"], &cut["packets"]),
        (&"cut".into(), &9.into())
    );
    assert_eq!(report["calls"].as_array().map(Vec::len), Some(0));
}

/// The programs need all that an agent of the PBX's host would have told them.
#[test]
fn settings_decide_as_they_do_for_the_agent() {
    let private = |text: &str| text.replace("60.17.196.2", "192.168.1.10");
    let packets: Vec<Packet> = vec![
        (0, inbound(PHONE, &private(INVITE))),
        (10, outbound(PHONE, &private(&answer(INVITE, "200 OK")))),
        (50, inbound(PHONE, &private(&ack()))),
        (1000, outbound(PRIVATE, &private(&in_dialog("BYE", "bye")))),
    ];
    let file = pcap(ETHERNET, &packets, usize::MAX);
    let last = |change: fn(&mut Replay)| {
        let mut player = Player::of(&file);
        change(&mut player.replay);
        verdicts(&player.run(), 0)[3].1.to_owned()
    };
    assert_eq!(last(|_| ()), "out_redirected_dialog");
    assert_eq!(last(|r| r.settings.policy = Policy::Off), "out_policy_off");
    let on_link = |r: &mut Replay| r.on_link = vec!["60.17.196.0/24".parse().expect("a prefix")];
    assert_eq!(last(on_link), "out_policy_off");

    // Another port of the PBX.
    let moved = |text: &str| text.replace("203.0.113.10:5060", "203.0.113.10:5080");
    let [pbx, other] = [PBX, "203.0.113.10:5080"];
    let packets: Vec<Packet> = vec![
        (0, udp(PHONE, other, moved(INVITE).as_bytes())),
        (10, udp(other, PHONE, answer(INVITE, "200 OK").as_bytes())),
        (50, udp(PHONE, other, ack().as_bytes())),
        (
            1000,
            udp(other, ADVERTISED, in_dialog("BYE", "bye").as_bytes()),
        ),
    ];
    let mut player = Player::of(&pcap(ETHERNET, &packets, usize::MAX));
    // At port 5060 there is only the BYE to the phone, which is not the PBX.
    player.replay.pbxs = vec!["203.0.113.10".parse().expect("an address")];
    assert_eq!(counter(&player.run(), "out_other_port"), 2, "{pbx}");
    player.replay.settings.ports = vec![5080];
    player.replay.pbxs.clear();
    let report = player.run();
    assert_eq!(verdicts(&report, 0)[3].1, "out_redirected_dialog");
}

/// A frame with VLAN tags is one of the PBX, too.
#[test]
fn tags_are_no_hindrance() {
    let tagged = |(at, frame)| (at, tagged(frame, &[[0x81, 0, 0, 7]]));
    let packets: Vec<Packet> = slide().into_iter().map(tagged).collect();
    let report = Player::of(&pcap(COOKED, &packets, usize::MAX)).run();
    assert_eq!(verdicts(&report, 0), SLIDE);
}

/// A capture of a day with many packets takes no day.
#[test]
fn a_long_capture_takes_short() {
    let mut packets = slide();
    for n in 0..20_000_u64 {
        packets.push((
            10_000 + n * 4000,
            udp(PHONE, "203.0.113.10:20000", &[0x80; 172]),
        ));
    }
    let started = std::time::Instant::now();
    let report = replayed(&packets);
    assert_eq!(counter(&report, "in_other_port"), 20_000);
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}
