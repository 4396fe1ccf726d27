//! rtpengine, which relays media in user space: the same audio, by the same wire.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nat_test_support::process::Process;

use crate::{
    feed::Feed,
    machine,
    messages::{self, PBX},
    report::{Figure, Part, Spread},
    rig::{CLIENT_CPU, End, Rig, SERVER_CPU},
    sends::Arrivals,
    stun::tasks,
};

/// Calls, each with a stream in each direction.
const CALLS: u16 = 64;
/// Packets of each stream in a batch.
const PACKETS: u16 = 40;
const BATCHES: usize = 15;

/// Address of both ends of all calls.
const ENDS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Ports of the ends of the first call.
const CALLER: u16 = 40_000;
const CALLEE: u16 = 45_000;

/// Address for commands (rtpengine's protocol `ng`).
const COMMANDS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2223);

/// Measures a relayed packet. Returns its CPU time in nanoseconds.
pub(crate) fn measure(part: &mut Part, feed: &mut Feed) -> Result<f64> {
    machine::pin(0, CLIENT_CPU)?;
    let rig = Rig::new()?;
    // Packets reach rtpengine by the same path as they reach XDP.
    let link = feed.attach(&rig, End::Server, "empty")?;
    let counting = feed.attach(&rig, End::Client, "answers")?;
    let relay = Relay::start(&rig)?;
    let calls = (0..CALLS).map(|call| relay.call(&rig, call));
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let threads = tasks(relay.process.pid())?;
    for thread in &threads {
        machine::pin(*thread, SERVER_CPU)?;
    }
    let busy = || -> Result<Duration> {
        let own = threads.iter().map(|thread| machine::cpu_time(*thread));
        Ok(own.sum::<Result<Duration>>()? + rig.busy(End::Server)?)
    };
    let mut arrivals = Arrivals::new(feed)?;
    let mut audio = messages::audio();
    let mut times = Vec::new();
    // The first batch warms the caches, and rtpengine learns the sources from it.
    for batch in 0..=BATCHES {
        let before = busy()?;
        for packet in 0..PACKETS {
            let sequence = batch as u16 * PACKETS + packet;
            audio[2..4].copy_from_slice(&sequence.to_be_bytes());
            for end in [0, 1] {
                for call in &calls {
                    let Leg { socket, relayed } = &call[end];
                    socket.send_to(&audio, relayed)?;
                }
                arrivals.wait(feed, calls.len())?;
            }
        }
        let time = busy()? - before;
        let all = u32::from(PACKETS) * 2 * u32::from(CALLS);
        if batch > 0 {
            times.push(time.as_nanos() as f64 / f64::from(all));
        }
    }
    let time = Spread::of(times);
    part.add(Figure::new(
        "relayed by rtpengine in user space, a packet",
        time,
        "ns",
    ));
    drop(relay);
    feed.detach("answers", counting)?;
    feed.detach("empty", link)?;
    Ok(time.median)
}

/// A running rtpengine.
struct Relay {
    process: Process,
    commands: UdpSocket,
}

/// End of a call: its socket, and the address of the relay to which it sends.
struct Leg {
    socket: UdpSocket,
    relayed: SocketAddr,
}

impl Relay {
    fn start(rig: &Rig) -> Result<Self> {
        let mut command = Command::new("rtpengine");
        command
            .args([
                "--config-file=none",
                "--foreground",
                "--log-stderr",
                "--log-level=4",
            ])
            // No kernel module.
            .args(["--table=-1", "--num-threads=1"])
            .arg(format!("--interface={}", Ipv4Addr::from(PBX)))
            .arg(format!("--listen-ng={COMMANDS}"))
            .args(["--port-min=30000", "--port-max=34999"]);
        let mut process = Process::spawn(&rig.server, &mut command, tempfile::tempdir()?)?;
        process.wait_bound(COMMANDS.port(), Duration::from_secs(10))?;
        let commands = rig.server.udp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        commands.connect(COMMANDS)?;
        commands.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self { process, commands })
    }

    /// Sets up a call. Returns its ends.
    fn call(&self, rig: &Rig, number: u16) -> Result<[Leg; 2]> {
        let ports = [CALLER, CALLEE].map(|port| port + 2 * number);
        // Each command is answered with a description for the other end.
        let callee = self.describes("offer", number, ports[0])?;
        let caller = self.describes("answer", number, ports[1])?;
        let leg = |port, relayed| -> Result<Leg> {
            Ok(Leg {
                socket: rig.client.udp(SocketAddrV4::new(ENDS, port))?,
                relayed: SocketAddr::from((PBX, relayed)),
            })
        };
        Ok([leg(ports[0], caller)?, leg(ports[1], callee)?])
    }

    /// Hands a description to rtpengine. Returns the port of the relay in the answer.
    fn describes(&self, command: &str, number: u16, port: u16) -> Result<u16> {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ENDS}\r\ns=-\r\nc=IN IP4 {ENDS}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        let call = format!("call{number}");
        let text = |text: &str| format!("{}:{text}", text.len());
        let mut message = format!("{command}{number} d");
        let to_tag = ("to-tag", "callee");
        for (key, value) in [
            ("command", command),
            ("call-id", &call),
            ("from-tag", "caller"),
            ("sdp", &sdp),
            ("ICE", "remove"),
        ]
        .into_iter()
        .chain((command == "answer").then_some(to_tag))
        {
            message += &text(key);
            message += &text(value);
        }
        message.push('e');
        self.commands.send(message.as_bytes())?;
        let mut answer = [0; 4096];
        let length = self
            .commands
            .recv(&mut answer)
            .with_context(|| format!("rtpengine does not answer:\n{}", self.process.output()))?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        let line = answer.split("m=audio ").nth(1);
        let port = line.and_then(|line| line.split(' ').next()?.parse().ok());
        port.with_context(|| format!("rtpengine answers {answer}"))
    }
}
