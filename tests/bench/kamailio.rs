//! Kamailio as a proxy in front of a PBX.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{kamailio::Kamailio, lab, sip::Message};

use crate::{
    feed::{Feed, Order},
    machine,
    messages::{self, Shape, Terminal},
    program,
    report::{Figure, Part, Spread},
    rig::{CLIENT_CPU, End, Rig, SERVER, SERVER_CPU},
};

/// Address of the PBX to which everything is relayed: on the sender's core, so that its work is not counted.
const PBX: &str = "203.0.113.1:5070";

const ROUNDS: usize = 7;
/// Messages in one go: fewer than a socket's buffer holds.
const BURST: u32 = 48;
const BURSTS: u32 = 25;

/// Configuration with one worker, and with short registrations and transactions, so that they do not pile up.
const CONFIG: &str = r#"
debug=0
children=1
BASE
LOAD
modparam("usrloc", "timer_interval", 1)
modparam("registrar", "max_expires", 1)
modparam("tm", "wt_timer", 1000)

request_route {
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("OPTIONS")) {
        sl_send_reply("200", "OK");
        exit;
    }
    REQUEST
    if (is_method("REGISTER")) {
        save("location");
        exit;
    }
    if (!has_totag()) record_route();
    $du = "sip:PBX";
    t_relay();
}

REPLY
"#;

/// Replacements for `LOAD`, `REQUEST` and `REPLY`, as in Kamailio's own example configuration.
struct Script {
    name: &'static str,
    load: &'static str,
    request: &'static str,
    reply: &'static str,
}

const PLAIN: Script = Script {
    name: "plain",
    load: "",
    request: "",
    reply: "",
};

const NATHELPER: Script = Script {
    name: "with nathelper and force_rport",
    load: r#"
loadmodule "nathelper.so"
modparam("nathelper", "received_avp", "$avp(received)")
modparam("registrar", "received_avp", "$avp(received)")
"#,
    request: r#"
    force_rport();
    if (nat_uac_test("19")) {
        if (is_method("REGISTER")) {
            fix_nated_register();
        } else {
            set_contact_alias();
        }
    }
    if (has_totag()) handle_ruri_alias();
"#,
    reply: r#"
onreply_route {
    if (nat_uac_test("1")) set_contact_alias();
}
"#,
};

/// Requests, and the messages that follow from each.
struct Kind {
    name: &'static str,
    method: &'static str,
    relayed: bool,
    /// Messages that Kamailio sends.
    sent: u32,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "REGISTER answered",
        method: "REGISTER",
        relayed: false,
        sent: 1,
    },
    Kind {
        name: "INVITE and 200 relayed",
        method: "INVITE",
        relayed: true,
        // 100 (Trying) as well.
        sent: 3,
    },
    Kind {
        name: "UPDATE in a dialog and 200 relayed",
        method: "UPDATE",
        relayed: true,
        sent: 2,
    },
];

impl Script {
    fn config(&self) -> String {
        [
            ("LOAD", self.load),
            ("REQUEST", self.request),
            ("REPLY", self.reply),
            ("PBX", PBX),
        ]
        .iter()
        .fold(CONFIG.to_owned(), |config, (name, text)| {
            config.replace(name, text)
        })
    }
}

/// Measures a request with nathelper, for each kind.
pub(crate) fn measure(part: &mut Part, feed: &mut Feed) -> Result<Vec<(String, f64)>> {
    let mut through_nathelper = Vec::new();
    for script in [PLAIN, NATHELPER] {
        let rig = Rig::new()?;
        // Packets reach Kamailio by the same path as they reach XDP.
        let link = feed.attach(&rig, End::Server, "empty")?;
        let counting = feed.attach(&rig, End::Client, "count")?;
        let proxy = Proxy::start(&rig, &script)?;
        for kind in &KINDS {
            let shape = Shape {
                length: 590,
                wanted_last: false,
            };
            feed.load_templates(&program::mix(|random| {
                let text = messages::request(random, kind.method, Terminal::New, shape);
                messages::inbound(Terminal::New, &text)
            }))?;
            let times = (0..ROUNDS).map(|_| proxy.round(feed, kind));
            let time = Spread::of(times.collect::<Result<_>>()?);
            let what = format!("Kamailio {}: {}", script.name, kind.name);
            part.add(Figure::new(what.clone(), time, "ns"));
            if script.name == NATHELPER.name {
                through_nathelper.push((what, time.median));
            }
        }
        drop(proxy);
        feed.detach("empty", link)?;
        feed.detach("count", counting)?;
    }
    Ok(through_nathelper)
}

/// A running Kamailio, and the PBX behind it.
struct Proxy<'r> {
    rig: &'r Rig,
    kamailio: Kamailio,
    processes: Vec<i32>,
    pbx: Pbx,
}

impl<'r> Proxy<'r> {
    fn start(rig: &'r Rig, script: &Script) -> Result<Self> {
        machine::pin(0, CLIENT_CPU)?;
        let pbx = Pbx::start(rig)?;
        let kamailio = Kamailio::with(&rig.server, &script.config(), 256)?;
        registers(rig).with_context(|| format!("Kamailio says:\n{}", kamailio.log()))?;
        let processes = family(kamailio.pid() as i32);
        for process in &processes {
            machine::pin(*process, SERVER_CPU)?;
        }
        Ok(Self {
            rig,
            kamailio,
            processes,
            pbx,
        })
    }

    /// Measures the CPU time of a request with all its messages.
    fn round(&self, feed: &mut Feed, kind: &Kind) -> Result<f64> {
        const ALL: u64 = (BURST * BURSTS) as u64;
        let (sent, relayed) = (self.rig.counted(SERVER)?.sent, self.pbx.requests());
        let busy = self.busy()?;
        for burst in 1..=BURSTS {
            self.rig.send(feed, Order::Random, None, BURST)?;
            let due = sent + u64::from(BURST * burst * kind.sent);
            self.rig.wait(SERVER, |counted| counted.sent >= due)?;
        }
        let busy = self.busy()? - busy;
        let sent = self.rig.counted(SERVER)?.sent - sent;
        let relayed = self.pbx.requests() - relayed;
        let expected = (
            ALL * u64::from(kind.sent),
            if kind.relayed { ALL } else { 0 },
        );
        ensure!(
            sent * 100 >= expected.0 * 99 && relayed * 100 >= expected.1 * 99,
            "{ALL} times {}: Kamailio has sent {sent} messages, {relayed} requests among them:\n{}",
            kind.method,
            self.kamailio.log()
        );
        Ok(busy.as_nanos() as f64 / ALL as f64)
    }

    fn busy(&self) -> Result<Duration> {
        let own = self.processes.iter().map(|pid| machine::cpu_time(*pid));
        Ok(own.sum::<Result<Duration>>()? + self.rig.busy(End::Server)?)
    }
}

/// Returns a process and its children.
fn family(parent: i32) -> Vec<i32> {
    machine::processes(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let its = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid == parent || its.is_some_and(|its| its.trim() == parent.to_string())
    })
}

/// Checks that Kamailio accepts registrations.
fn registers(rig: &Rig) -> Result<()> {
    let phone = rig.client.udp("203.0.113.1:0".parse::<SocketAddr>()?)?;
    phone.set_read_timeout(Some(Duration::from_secs(2)))?;
    let own = phone.local_addr()?;
    let register = Message::new("REGISTER sip:203.0.113.10 SIP/2.0")
        .with("Via", format!("SIP/2.0/UDP {own};branch=z9hG4bK-probe"))
        .with("From", "<sip:probe@localhost>;tag=1")
        .with("To", "<sip:probe@localhost>")
        .with("Call-ID", "register")
        .with("CSeq", "1 REGISTER")
        .with("Contact", format!("<sip:probe@{own}>"))
        .to_string();
    phone.send_to(register.as_bytes(), lab::PBX)?;
    let mut answer = [0; 2048];
    let length = phone.recv(&mut answer).context("no answer to REGISTER")?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    ensure!(answer.starts_with("SIP/2.0 200"), "REGISTER: {answer}");
    Ok(())
}

/// Answers every request with 200 (OK) and the headers of the request.
struct Pbx {
    requests: Arc<AtomicU64>,
    going: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pbx {
    fn start(rig: &Rig) -> Result<Self> {
        let socket = rig.client.udp(PBX.parse::<SocketAddr>()?)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let requests = Arc::new(AtomicU64::new(0));
        let going = Arc::new(AtomicBool::new(true));
        let thread = thread::spawn({
            let (requests, going) = (Arc::clone(&requests), Arc::clone(&going));
            move || answer(&socket, &requests, &going)
        });
        Ok(Self {
            requests,
            going,
            thread: Some(thread),
        })
    }

    fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.going.store(false, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket, requests: &AtomicU64, going: &AtomicBool) {
    let _ = machine::pin(0, CLIENT_CPU);
    let mut request = [0; 4096];
    while going.load(Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut request) else {
            continue;
        };
        let request = &request[..length];
        let Some(start_line) = request.iter().position(|byte| *byte == b'\r') else {
            continue;
        };
        let response = [b"SIP/2.0 200 OK", &request[start_line..]].concat();
        if socket.send_to(&response, from).is_ok() {
            requests.fetch_add(1, Relaxed);
        }
    }
}
