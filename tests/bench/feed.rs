//! Kernel programs of the benchmarks, and their settings.

use std::{borrow::Cow, env, fs, path::Path, slice, time::SystemTime};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, ProgramArray},
    programs::{
        ProgramFd, SchedClassifier, TcAttachType, TestRun, TestRunAttrs, TestRunOptions,
        TestRunResult, Xdp,
        tc::{self, SchedClassifierLinkId},
        xdp::XdpLinkId,
    },
    util::KernelVersion,
};
use nat_bench_ebpf::{CALLS, Job, Sample, TEMPLATES, Template, map};
use nat_userspace::{
    kernel::load::{DataPath, Programs},
    kernel::object,
};

use crate::rig::{End, Rig};

/// Environment variable with the object of the benchmark programs.
const OBJECT: &str = "SIPNAT_BENCH_OBJECT";
/// Numbers of new identities start here; known identities are below it.
const NEW: u64 = 1 << 24;
/// Frames that the kernel sends in one system call.
const BATCH: u32 = 64;

/// A direction, with its program of sipnat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// Order of identities and templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Consecutive, from this number on.
    From(u32),
    /// Random; new identities never repeat.
    Random,
}

/// Reads the programs to measure: those of `SIPNAT_BPF_OBJECT` if it is set, else the built-in ones.
pub(crate) fn sipnat() -> Result<Cow<'static, [u8]>> {
    let file = env::var_os("SIPNAT_BPF_OBJECT");
    object::read(file.as_deref().map(Path::new))
}

/// The programs that write messages, loaded.
pub(crate) struct Feed {
    ebpf: Ebpf,
    job: Array<MapData, Job>,
    templates: Array<MapData, Template>,
    xdp: ProgramArray<MapData>,
    tc: ProgramArray<MapData>,
    seen: PerCpuArray<MapData, u64>,
    sample: Array<MapData, Sample>,
    /// Number of the next new identity.
    next: u64,
    /// Number of known identities from which sent messages pick.
    among: u32,
}

impl Feed {
    pub(crate) fn load() -> Result<Self> {
        let path = env::var_os(OBJECT)
            .with_context(|| format!("{OBJECT} names no object; `cargo xtask bench` sets it"))?;
        let object = fs::read(&path).with_context(|| format!("cannot read {path:?}"))?;
        let mut ebpf = EbpfLoader::new()
            .load(&object)
            .context("cannot load the benchmark's eBPF object")?;
        for name in [
            "feed", "send", "empty", "calls", "count", "bounce", "answers",
        ] {
            xdp(&mut ebpf, name)?.load().context(name)?;
        }
        for name in ["feed_tc", "empty_tc", "pktgen"] {
            classifier(&mut ebpf, name)?.load().context(name)?;
        }
        let mut take = |name| {
            ebpf.take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        Ok(Self {
            job: take(map::JOB)?.try_into()?,
            templates: take(map::TEMPLATES)?.try_into()?,
            xdp: take(map::XDP)?.try_into()?,
            tc: take(map::TC)?.try_into()?,
            seen: take(map::SEEN)?.try_into()?,
            sample: take(map::SAMPLE)?.try_into()?,
            ebpf,
            next: NEW,
            among: 1,
        })
    }

    /// Sets templates and the number of known identities; both are powers of two.
    pub(crate) fn load_templates(&mut self, templates: &[Template]) -> Result<()> {
        ensure!(templates.len().is_power_of_two() && templates.len() <= TEMPLATES as usize);
        for (i, template) in templates.iter().enumerate() {
            self.templates.set(i as u32, template, 0)?;
        }
        let mut job = self.job.get(&0, 0)?;
        job.templates = templates.len() as u32 - 1;
        Ok(self.job.set(0, job, 0)?)
    }

    /// New identities differ from those of a previous run, which a receiver may still know.
    pub(crate) fn forget_runs_before(&mut self) -> Result<()> {
        let since = SystemTime::UNIX_EPOCH.elapsed()?;
        // 32 bits of the clock, so a repetition is unlikely.
        self.next = NEW + since.as_nanos() as u64;
        Ok(())
    }

    /// Sets the number of known identities for messages that are sent, a power of two.
    pub(crate) fn pick_among(&mut self, identities: u32) {
        self.among = identities;
    }

    /// Sets the order, for `count` messages.
    pub(crate) fn order(
        &mut self,
        order: Order,
        picks: u32,
        count: u32,
        ifindex: u32,
    ) -> Result<()> {
        ensure!(picks.is_power_of_two());
        let mut job = self.job.get(&0, 0)?;
        (job.next, job.random) = match order {
            Order::From(number) => (number.into(), 0),
            Order::Random => {
                // pktgen makes more packets than it sends: a packet that a full ring rejects has a number, too.
                self.next = self.next.max(job.next) + u64::from(count);
                (self.next - u64::from(count), 1)
            }
        };
        job.picks = picks - 1;
        job.ifindex = ifindex;
        job.last = 0;
        Ok(self.job.set(0, job, 0)?)
    }

    /// Passes the messages to a program of sipnat from now on.
    pub(crate) fn hand_to_sipnat(
        &mut self,
        path: &mut DataPath,
        direction: Direction,
    ) -> Result<()> {
        match direction {
            Direction::In => {
                let program = path.ingress()?.fd()?.try_clone()?;
                self.hand_to(direction, &program)
            }
            Direction::Out => {
                let program = path.egress()?.fd()?.try_clone()?;
                self.hand_to(direction, &program)
            }
        }
    }

    /// Passes the messages to the empty program.
    pub(crate) fn hand_to_nobody(&mut self, direction: Direction) -> Result<()> {
        let program = match direction {
            Direction::In => xdp(&mut self.ebpf, "empty")?.fd()?.try_clone()?,
            Direction::Out => classifier(&mut self.ebpf, "empty_tc")?.fd()?.try_clone()?,
        };
        self.hand_to(direction, &program)
    }

    fn hand_to(&mut self, direction: Direction, program: &ProgramFd) -> Result<()> {
        match direction {
            Direction::In => self.xdp.set(0, program, 0)?,
            Direction::Out => self.tc.set(0, program, 0)?,
        }
        Ok(())
    }

    /// Feeds `count` messages to the current program, with `picks` known identities. Returns the time of each.
    pub(crate) fn run(
        &mut self,
        direction: Direction,
        order: Order,
        picks: u32,
        count: u32,
    ) -> Result<f64> {
        self.order(order, picks, count, 0)?;
        match direction {
            Direction::In => repeat(xdp(&mut self.ebpf, "feed")?, count),
            Direction::Out => repeat(classifier(&mut self.ebpf, "feed_tc")?, count),
        }
    }

    /// Feeds one message of each of `count` known identities, from the number `first` on, of `picks`.
    pub(crate) fn each(
        &mut self,
        direction: Direction,
        template: &Template,
        first: u32,
        picks: u32,
        count: u32,
    ) -> Result<()> {
        self.load_templates(slice::from_ref(template))?;
        self.run(direction, Order::From(first), picks, count)?;
        Ok(())
    }

    /// Sends messages on an interface of this thread's network namespace, at most `frames` of them, at this rate.
    pub(crate) fn send(
        &mut self,
        ifindex: u32,
        order: Order,
        per_second: Option<u32>,
        frames: u32,
    ) -> Result<()> {
        self.order(order, self.among, frames, ifindex)?;
        let mut job = self.job.get(&0, 0)?;
        job.interval = per_second.map_or(0, |rate| 1_000_000_000 / u64::from(rate));
        job.due = 0;
        self.job.set(0, job, 0)?;
        xdp(&mut self.ebpf, "send")?.test_run(TestRunOptions {
            data_in: Some(&[0; 1500]),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        })?;
        Ok(())
    }

    /// Writes messages into packets of pktgen that leave by an interface of this thread's network namespace, until
    /// the feed is dropped. Returns whether a qdisc was made for that, which stays.
    pub(crate) fn write_into_pktgen(&mut self, interface: &str) -> Result<bool> {
        let program = classifier(&mut self.ebpf, "pktgen")?;
        // First kernel on which the program needs no qdisc.
        let tcx = KernelVersion::new(6, 6, 0);
        let made = KernelVersion::current()? < tcx && tc::qdisc_add_clsact(interface).is_ok();
        program
            .attach(interface, TcAttachType::Egress)
            .with_context(|| format!("cannot attach to egress of {interface}"))?;
        Ok(made)
    }

    /// Attaches one of the programs to an end of the wire.
    pub(crate) fn attach(&mut self, rig: &Rig, end: End, name: &str) -> Result<XdpLinkId> {
        rig.attach(end, xdp(&mut self.ebpf, name)?)
    }

    /// Detaches it.
    pub(crate) fn detach(&mut self, name: &str, link: XdpLinkId) -> Result<()> {
        Ok(xdp(&mut self.ebpf, name)?.detach(link)?)
    }

    /// Attaches the empty program to what an interface of this thread's network namespace sends.
    pub(crate) fn attach_empty_egress(&mut self, interface: &str) -> Result<SchedClassifierLinkId> {
        let program = classifier(&mut self.ebpf, "empty_tc")?;
        Ok(program.attach(interface, TcAttachType::Egress)?)
    }

    /// Detaches it.
    pub(crate) fn detach_empty_egress(&mut self, link: SchedClassifierLinkId) -> Result<()> {
        Ok(classifier(&mut self.ebpf, "empty_tc")?.detach(link)?)
    }

    /// Returns a count of `count` or `answers`: one of [`nat_bench_ebpf::seen`].
    pub(crate) fn seen(&self, what: u32) -> Result<u64> {
        Ok(self.seen.get(&what, 0)?.iter().sum())
    }

    /// Returns an answer.
    pub(crate) fn sample(&self) -> Result<Vec<u8>> {
        let sample = self.sample.get(&0, 0)?;
        Ok(sample.bytes[..sample.len as usize].to_vec())
    }

    /// Measures one call of a function in a kernel program.
    pub(crate) fn call(&mut self, count: u32) -> Result<f64> {
        let calls = repeat(xdp(&mut self.ebpf, "calls")?, count)?;
        Ok((calls - self.nothing(Direction::In, count)?) / f64::from(CALLS))
    }

    /// Measures one run of the empty program, without feed.
    pub(crate) fn nothing(&mut self, direction: Direction, count: u32) -> Result<f64> {
        match direction {
            Direction::In => repeat(xdp(&mut self.ebpf, "empty")?, count),
            Direction::Out => repeat(classifier(&mut self.ebpf, "empty_tc")?, count),
        }
    }
}

/// Returns the time of one of `count` runs in nanoseconds, as the kernel reports it. The system call itself takes
/// milliseconds for XDP, and time on other processes is not counted.
fn repeat<P>(program: &P, count: u32) -> Result<f64>
where
    P: for<'o> TestRun<Opts<'o> = TestRunOptions<'o>, Result = TestRunResult>,
{
    // IPv4, for programs that check it; `feed` writes the rest.
    let mut frame = [0; 1500];
    frame[12] = 8;
    let result = program.test_run(TestRunOptions {
        data_in: Some(&frame),
        repeat: count,
        ..TestRunOptions::default()
    })?;
    Ok(result.duration.as_nanos() as f64)
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}
