//! Faults of the machine: full tables and logs, no pins, no file descriptors, no disk. Calls go on, what is wrong is said, and
//! nothing is left behind.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_common::{
    abi::{Binding, ContactKey, DialogKey, SECOND, Set, ticks},
    endpoint::Endpoint,
    tables::bindings::{BindingKey, Stored},
};
use nat_test_support::{
    Call, Lab, Plan, Sipnat, Terminal,
    footprint::Footprint,
    sipnat,
    ua::{Heard, ScriptedPbx},
};
use nat_userspace::{
    host::{clock, prefix::Prefix},
    kernel::{
        mapped::{Access, Bindings},
        tables::{Sets, Tables},
    },
};
use nix::{libc::O_NONBLOCK, sys::signal::Signal};

use crate::scene::{Scene, With, play_in};

/// Time within which the agent notices what the kernel does not report.
const NOTICED: Duration = Duration::from_secs(20);

/// A phone that has registered and is in a call.
struct Talk<'a> {
    call: Call<'a>,
    contact: String,
}

impl<'a> Talk<'a> {
    fn begin(phone: &'a Terminal, pbx: &'a ScriptedPbx) -> Result<Self> {
        let contact = phone.registers(pbx)?;
        let call = Call::from(phone, pbx)?;
        let talk = Self { call, contact };
        talk.goes_on()?;
        Ok(talk)
    }

    /// The PBX's request in the call reaches the phone, and so does another call.
    fn goes_on(&self) -> Result<()> {
        self.call.reaches_phone("INVITE")?;
        let Call { terminal, pbx, .. } = self.call;
        Call::to(terminal, pbx, &self.contact)?.reaches_phone("BYE")
    }
}

/// Plays a fault in a lab with this many phones. The phones' private addresses are no home of the PBX, so all of its requests need
/// sipnat.
fn play(phones: u8, fault: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    let plan = Plan {
        phones,
        ..Plan::PLAIN_NAT
    };
    play_in(&Lab::new(plan)?, With::Nothing, fault)
}

/// Stops the agent, which must leave nothing of `footprint`.
fn leaves_nothing(agent: Sipnat<'_>, footprint: &Footprint) -> Result<()> {
    let pins = agent.pins()?;
    agent.stop()?;
    ensure!(!pins.exists(), "{} is left", pins.display());
    footprint.is_gone()
}

/// Fills a table of bindings with live ones of other terminals that expire at the same time. Those that it has stay.
fn fill<K: BindingKey>(table: &mut Bindings<K>, key: impl Fn(u64) -> K, expires: u64) {
    let mut refused = 0;
    for n in 1.. {
        // As evenly spread as the hashes that keys are.
        let hash = n * 0x9e37_79b9;
        let binding = Binding {
            learned: Endpoint::v4([198, 18, (n >> 8) as u8, n as u8], 5060),
            aor: hash,
            expires,
            ..Binding::EMPTY
        };
        let stored = table.insert(&key(hash), binding, clock::now());
        refused += u32::from(stored != Stored::New);
        // Then each set has been tried many times over.
        if refused == 20_000 {
            return;
        }
    }
}

/// Fills the empty slots of a table of sets with entries of this moment.
fn fill_sets<V: nat_common::abi::Value>(table: &mut Sets<V>) -> Result<()> {
    let sets = table.read()?.sets;
    for (index, mut set) in (0_u32..).zip(sets) {
        for (slot, tag) in set
            .tags
            .iter_mut()
            .enumerate()
            .filter(|(_, tag)| **tag == 0)
        {
            *tag = Set::default().tags[slot] | (u64::from(index) + 1) << 24;
            set.times[slot] = ticks(clock::now()) as u32;
        }
        table.write(index, set)?;
    }
    Ok(())
}

/// The agent is dead, and every table is full. What is known works on; what is new is treated as without sipnat. When the entries
/// have expired, new calls, registrations and subscriptions are learned again, still without an agent.
#[test]
fn every_table_is_full() -> Result<()> {
    play(2, |scene| {
        let arguments = [
            "--size-bindings=1024",
            "--size-transactions=1024",
            "--size-pending=1024",
            "--size-proofs=1024",
            "--size-fragments=1024",
            "--stun",
            "--media",
        ];
        let mut agent = Sipnat::start(&scene.lab.pbx, &arguments)?;
        let pins = agent.pins()?;
        let mut footprint = Footprint::of(&pins)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;
        agent.kill()?;

        let mut tables = Tables::open(&pins)?;
        let dialog = |call| DialogKey { call, tag: call };
        let contact = |uri| ContactKey { uri, aor: uri };
        let fill_bindings = |tables: &Tables, seconds| -> Result<()> {
            let expires = clock::now() + seconds * SECOND;
            fill(&mut tables.dialogs.open(Access::Write)?, dialog, expires);
            fill(&mut tables.contacts.open(Access::Write)?, contact, expires);
            Ok(())
        };
        fill_bindings(&tables, 3600)?;
        fill_sets(&mut tables.inbound)?;
        fill_sets(&mut tables.outbound)?;
        fill_sets(&mut tables.pending)?;
        fill_sets(&mut tables.peers)?;
        fill_sets(&mut tables.fragments)?;
        fill_sets(&mut tables.stun)?;
        fill_sets(&mut tables.offers)?;
        talk.goes_on().context("with full tables")?;
        let newcomer = scene.terminal(0, 1, "1001")?;
        newcomer
            .registers(&pbx)
            .context("its answer goes to its source")?;
        let refused = tables.count(nat_common::abi::Counter::TableFull)?;
        ensure!(refused > 0, "the tables were not full");

        // The next agent says it at once.
        let mut agent = Sipnat::start(&scene.lab.pbx, &arguments)?;
        agent.wait_for("DIALOGS is four fifths full; see `sipnat status`", NOTICED)?;
        agent.wait_for("CONTACTS is four fifths full", NOTICED)?;
        agent.kill()?;

        // The same bindings.
        fill_bindings(&tables, 1)?;
        thread::sleep(Duration::from_secs(2));
        talk.call
            .reaches_phone("INVITE")
            .context("after their expiry")?;
        let newcomer = Talk::begin(&newcomer, &pbx).context("a new registration and call")?;
        newcomer.call.reaches_phone("BYE")?;
        let subscribe = newcomer
            .call
            .terminal
            .request("SUBSCRIBE", "sip:2000@203.0.113.10")
            .with("Expires", "60")
            .with("Event", "dialog");
        let accepted = |request: &Heard| pbx.response(request, "200 OK").with("Expires", "60");
        let terminal = newcomer.call.terminal;
        let heard = terminal.is_answered(&pbx, &subscribe, 1, accepted)?;
        let ok = accepted(&heard);
        let subscription = Call::new(&pbx, terminal, &ok, ["To", "From"], &heard.message)?;
        subscription.reaches_phone("NOTIFY")?;

        drop(tables);
        let agent = Sipnat::start(&scene.lab.pbx, &arguments)?;
        footprint.is_all_of(&pins)?;
        footprint.add(Footprint::of(&pins)?);
        leaves_nothing(agent, &footprint)
    })
}

/// The tables of rules and of addresses have a fixed number of entries. Beyond it, what does not fit is refused by name.
#[test]
fn tables_of_rules_are_full() -> Result<()> {
    /// More than either takes.
    const MANY: u32 = 1 << 17;
    play(1, |scene| {
        let mut agent = Sipnat::start(&scene.lab.pbx, &[])?;
        let footprint = Footprint::of(&agent.pins()?)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;

        let mut tables = Tables::open(&agent.pins()?)?;
        let rule = tables
            .policy
            .get(&Prefix::Default.key(), 0)
            .context("the default")?;
        let kind = nat_common::abi::address::ROUTED;
        // Until the kernel refuses one more.
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
        let mut hosts =
            (first..first + MANY).filter_map(|n| Prefix::of(Ipv4Addr::from(n).into(), 32));
        let mut rules = hosts.clone();
        let full = rules.any(|host| tables.policy.insert(&host.key(), rule, 0).is_err());
        ensure!(full, "POLICY takes {MANY} rules");
        let full = hosts.any(|host| tables.addresses.insert(&host.key(), kind, 0).is_err());
        ensure!(full, "ADDRESSES takes {MANY} entries");
        talk.goes_on()?;
        let refused = agent.command(&["policy", "set", "192.0.2.1", "off"]);
        let refused = format!("{:#}", refused.err().context("it was not full")?);
        ensure!(
            refused.contains("cannot set the rule for 192.0.2.1/32"),
            "{refused}"
        );
        scene.lab.pbx.ip("route add 10.20.0.0/16 via 203.0.113.2")?;
        agent.wait_for(
            "cannot follow a change of addresses: cannot write the address 10.20.0.0/16",
            NOTICED,
        )?;
        talk.goes_on()?;
        drop(tables);
        leaves_nothing(agent, &footprint)
    })
}

/// Numbers of records of the programs' log in that of the agent: those that it read, and those that were lost.
fn records(log: &str) -> [usize; 2] {
    let before = |line: &str| {
        line.split_once(" records of the kernel programs' log")
            .map(|it| it.0.to_owned())
    };
    let number = |line: String| {
        line.rsplit(' ')
            .next()
            .and_then(|word| word.parse::<usize>().ok())
    };
    let lost = log.lines().filter_map(before).filter_map(number);
    [log.matches(":5060 -> ").count(), lost.sum()]
}

/// The agent does not read the log of the kernel programs, and it fills up. Each redirect has a record that was read or is told
/// as lost, those that came before the agent began to read, too.
#[test]
fn the_log_of_the_programs_is_full() -> Result<()> {
    /// More records than the log holds: each takes 264 bytes of 128 KiB.
    const RECORDS: usize = 1000;
    /// Records that are there as the agent begins to read.
    const EARLY: usize = 50;
    play(1, |scene| {
        // The agent waits as long as nobody reads what fills its output. It is attached by then, and has read no record.
        let dir = tempfile::tempdir()?;
        let fifo = dir.path().join("output");
        ensure!(Command::new("mkfifo").arg(&fifo).status()?.success());
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(O_NONBLOCK);
        let mut output = options.open(&fifo)?;
        while output.write(&[b'\n'; 4096]).is_ok() {}
        let mut command = Command::new("sh");
        command.args(["-c", "RUST_LOG=debug exec \"$0\" run --iface eth0 >\"$1\""]);
        command.arg(sipnat::binary()?).arg(&fifo);
        let mut agent = Sipnat::spawn_by(&scene.lab.pbx, &mut command)?;
        let deadline = Instant::now() + Duration::from_secs(120);
        while agent.command(&["status"]).is_err() {
            ensure!(Instant::now() < deadline, "not attached: {}", agent.log());
            thread::sleep(Duration::from_millis(100));
        }
        let footprint = Footprint::of(&agent.pins()?)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;
        let redirect = |times| -> Result<()> {
            for _ in 0..times {
                talk.call.pbx_sends("INFO")?;
                talk.call.terminal.ua.hear("INFO")?;
            }
            Ok(())
        };
        redirect(EARLY)?;
        ensure!(records(&agent.log()) == [0; 2], "{}", agent.log());
        let mut begins = [0; 1 << 17];
        ensure!(output.read(&mut begins)? > 0, "it said nothing");
        agent.wait_for("192.168.1.10:5060 -> ", NOTICED)?;

        agent.signal(Signal::SIGSTOP)?;
        let [before, lost_before] = records(&agent.log());
        ensure!(
            before >= EARLY && lost_before == 0,
            "{before} {lost_before}"
        );
        redirect(RECORDS)?;
        talk.goes_on().context("with a full log")?;
        agent.signal(Signal::SIGCONT)?;
        agent.wait_for("records of the kernel programs' log were lost", NOTICED)?;
        talk.goes_on()?;
        let stats = agent.json(&["stats"])?;
        let stats = stats.as_object().context("no object")?;
        let redirects = stats
            .iter()
            .filter(|(name, _)| name.starts_with("out_redirected_"));
        let redirects: u64 = redirects.filter_map(|(_, count)| count.as_u64()).sum();
        thread::sleep(Duration::from_secs(1));
        let [read, lost] = records(&agent.log());
        ensure!(read > before && lost > 0, "{read} were read, {lost} lost");
        ensure!(
            (read + lost) as u64 == redirects,
            "{read} records were read, {lost} lost, of {redirects}"
        );
        leaves_nothing(agent, &footprint)
    })
}

/// Somebody removes the pins, which hold the programs. The agent has its maps and programs, and puts all back.
#[test]
fn the_pins_are_removed() -> Result<()> {
    for tc in [&[][..], &["--clsact"]] {
        play(1, |scene| {
            let mut agent = Sipnat::start(&scene.lab.pbx, tc)?;
            let pins = agent.pins()?;
            let mut footprint = Footprint::of(&pins)?;
            let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            let talk = Talk::begin(&phone, &pbx)?;

            fs::remove_dir_all(&pins)?;
            agent.wait_for(
                &format!("{} was removed: pinned again", pins.display()),
                NOTICED,
            )?;
            agent.wait_for("sipnat: attached to eth0 again", NOTICED)?;
            talk.goes_on().context("with the same bindings")?;
            footprint.is_all_of(&pins)?;
            footprint.add(Footprint::of(&pins)?);
            let status = agent.command(&["status"])?;
            ensure!(!status.contains("detached"), "{status}");
            leaves_nothing(agent, &footprint)
        })?;
    }
    Ok(())
}

/// An agent may open only so many files. It ends and says so, at whatever step it is; the programs of the one before go on.
#[test]
fn too_few_files_to_start() -> Result<()> {
    play(1, |scene| {
        let mut agent = Sipnat::start(&scene.lab.pbx, &[])?;
        let pins = agent.pins()?;
        let footprint = Footprint::of(&pins)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;
        agent.kill()?;
        let mut failed = 0;
        for files in (6..100).step_by(5) {
            let mut command = Command::new("prlimit");
            command
                .arg(format!("--nofile={files}"))
                .arg(sipnat::binary()?);
            command.args(["run", "--iface", "eth0"]);
            let mut agent = Sipnat::spawn_by(&scene.lab.pbx, &mut command)?;
            match agent.is_ready() {
                Ok(()) => agent.kill()?,
                Err(_) => {
                    let said = agent.log();
                    for words in ["Too many open files", "raise `ulimit -n`"] {
                        ensure!(said.contains(words), "{files} files, no `{words}`: {said}");
                    }
                    failed += 1;
                }
            }
            talk.goes_on().with_context(|| format!("{files} files"))?;
            footprint.is_all_of(&pins)?;
        }
        ensure!(failed > 3, "{failed} starts failed");
        let agent = Sipnat::start(&scene.lab.pbx, &[])?;
        let all = Footprint::of(&pins)?;
        leaves_nothing(agent, &all)
    })
}

/// A running agent can open no file any more. It says so where it needs one, and works again when it can.
#[test]
fn no_more_files() -> Result<()> {
    play(1, |scene| {
        let mut agent = Sipnat::start(&scene.lab.pbx, &[])?;
        let footprint = Footprint::of(&agent.pins()?)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;
        let limit = |files: &str| {
            let pid = agent.pid().to_string();
            let mut command = Command::new("prlimit");
            command.args(["--pid", &pid, &format!("--nofile={files}:")]);
            scene.lab.pbx.run(&mut command, "").map(drop)
        };
        limit("4")?;
        agent.signal(Signal::SIGHUP)?;
        agent.wait_for(
            "cannot answer `sipnat reload`: cannot write /run/sipnat/",
            NOTICED,
        )?;
        ensure!(
            agent.log().contains("Too many open files"),
            "{}",
            agent.log()
        );
        // Its next looks at sockets and interfaces.
        thread::sleep(Duration::from_secs(6));
        talk.goes_on()?;
        ensure!(!agent.has_ended()?, "{}", agent.log());
        let limit = |files: &str| {
            let pid = agent.pid().to_string();
            let mut command = Command::new("prlimit");
            command.args(["--pid", &pid, &format!("--nofile={files}:")]);
            scene.lab.pbx.run(&mut command, "").map(drop)
        };
        limit("1024")?;
        let reloaded = agent.command(&["reload"])?;
        ensure!(reloaded.contains("no setting has changed"), "{reloaded}");
        leaves_nothing(agent, &footprint)
    })
}

/// The disk of the run directory and of the log is full: a tmpfs of 64 KiB.
#[test]
fn the_disk_is_full() -> Result<()> {
    play(1, |scene| {
        // The file system is the agent's own, and ends with it.
        let start = |fill: &str| {
            let mut command = Command::new("unshare");
            let script = format!(
                "mount -t tmpfs -o size=64k,mode=0700 none /run/sipnat && {fill}
                 exec \"$0\" run --iface eth0 >>/run/sipnat/log 2>&1"
            );
            command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
            command.arg(sipnat::binary()?);
            Sipnat::spawn_by(&scene.lab.pbx, &mut command)
        };
        let inside = |agent: &Sipnat<'_>, script: &str| {
            let mut command = Command::new("nsenter");
            command.args(["--mount", "--target", &agent.pid().to_string()]);
            command.args(["sh", "-c", script]).arg(sipnat::binary()?);
            scene.lab.pbx.output(&mut command)
        };
        const FILL: &str = "cat /dev/zero >/run/sipnat/fill 2>/dev/null;";
        fs::create_dir_all("/run/sipnat")?;

        // The log has a page for the error.
        let mut refused = start(&format!("echo >/run/sipnat/log; {FILL}"))?;
        let pins = refused.pins()?;
        let deadline = Instant::now() + NOTICED;
        while !refused.has_ended()? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        ensure!(refused.has_ended()?, "it has started without its record");
        ensure!(!pins.exists(), "{} is left", pins.display());

        let mut agent = start("")?;
        let ready = |agent: &Sipnat<'_>| -> Result<bool> {
            let log = inside(agent, "cat /run/sipnat/log")?;
            Ok(String::from_utf8_lossy(&log.stdout).contains("sipnat: ready on eth0"))
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready(&agent)? {
            ensure!(
                Instant::now() < deadline && !agent.has_ended()?,
                "not ready"
            );
            thread::sleep(Duration::from_millis(100));
        }
        let footprint = Footprint::of(&pins)?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let talk = Talk::begin(&phone, &pbx)?;
        inside(&agent, FILL)?;
        // What it wants to say has no place, and neither has its answer.
        agent.signal(Signal::SIGHUP)?;
        scene
            .lab
            .pbx
            .ip("link add veth0 type veth peer name veth1\nlink set veth0 up")?;
        thread::sleep(Duration::from_secs(6));
        talk.goes_on()?;
        ensure!(!agent.has_ended()?, "it has ended");
        inside(&agent, "rm /run/sipnat/fill")?;
        let reloaded = inside(&agent, "exec \"$0\" reload")?;
        let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
        ensure!(
            said.contains("no setting has changed"),
            "{said} {reloaded:?}"
        );
        leaves_nothing(agent, &footprint)
    })
}
