//! A data path that is loaded and not attached.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Mutex, OnceLock},
    thread,
    time::Duration,
};

use aya::{
    maps::{LpmTrie, MapData},
    programs::{TestRun as _, TestRunOptions},
};
use nat_common::abi::{Binding, Config, Policy, Record, Rule, origin};
use nat_common::abi::{Counter, CounterKind};
use nat_common::endpoint::Endpoint;
use nat_test_support::loops::TAKES_MAY_GOTO;
use nat_userspace::checks::preflight::Kernel;
use nat_userspace::host::prefix::Prefix;
use nat_userspace::kernel::load::{DataPath, HostAddresses, Loader, Programs};
use nat_userspace::kernel::loops::Loops;
use nat_userspace::kernel::mapped::Access;
use nat_userspace::kernel::object;
use nat_userspace::kernel::tables::Tables;
use nat_userspace::settings::{Settings, Sizes};

use crate::frames;

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
/// -1: the next program decides.
pub(crate) const TC_ACT_UNSPEC: u32 = u32::MAX;
pub(crate) const TC_ACT_REDIRECT: u32 = 7;

/// Returns the loops that this kernel takes, the faster first.
pub(crate) fn loops() -> &'static [Loops] {
    static LOOPS: OnceLock<&[Loops]> = OnceLock::new();
    LOOPS.get_or_init(|| {
        let object = object::read(None).expect(NO_OBJECT);
        let settings = Setup::small().settings;
        let path = Loader::new(&object, &settings).load().expect(NO_PATH);
        match path.loops {
            Loops::MayGoto => &[Loops::MayGoto, Loops::BpfLoop],
            Loops::BpfLoop => {
                let kernel = Kernel::running().expect("a version");
                println!("skipped: loops by may_goto, known to load on kernel {TAKES_MAY_GOTO}; this is {kernel}");
                &[Loops::BpfLoop]
            }
        }
    })
}

pub(crate) const NO_OBJECT: &str = "the kernel programs; `cargo xtask test` builds them";
const NO_PATH: &str = "it takes root, and a kernel of 6.1 or later";

/// Small tables, large enough for these tests.
const SMALL: Sizes = Sizes {
    transactions: 64,
    pending: 64,
    peers: 64,
    fragments: 64,
    history: 64,
    buckets: 64,
    stun: 64,
    offers: 1,
    media: 1,
    keepalives: 64,
    bindings: 64,
};

/// More than a tick of the kernel's coarse clock, which is at most 10 ms (CONFIG_HZ of 100).
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Choices of a test for its data path.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) addresses: HostAddresses,
    pub(crate) loops: Loops,
}

impl Setup {
    fn small() -> Self {
        Self {
            settings: Settings {
                sizes: SMALL,
                ..Settings::default()
            },
            addresses: HostAddresses::default(),
            loops: Loops::BpfLoop,
        }
    }
}

/// Both programs and their maps.
pub(crate) struct Path(pub(crate) Lent);

/// A data path on loan. Verification takes a second, and several on an emulated kernel. So a data path with the usual
/// settings is emptied and kept for the next test.
pub(crate) struct Lent {
    path: Option<DataPath>,
    usual: bool,
}

/// Data paths that no test uses.
static IDLE: Mutex<Vec<DataPath>> = Mutex::new(Vec::new());

impl From<DataPath> for Lent {
    /// Takes a data path with other settings, which is not kept.
    fn from(path: DataPath) -> Self {
        Self {
            path: Some(path),
            usual: false,
        }
    }
}

impl Deref for Lent {
    type Target = DataPath;

    fn deref(&self) -> &DataPath {
        self.path.as_ref().expect("not dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut DataPath {
        self.path.as_mut().expect("not dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The state after a failed test is unknown.
        if !self.usual || thread::panicking() {
            return;
        }
        if let Some(mut path) = self.path.take() {
            forget(&mut path).expect("maps that can be emptied");
            IDLE.lock().expect("no test failed here").push(path);
        }
    }
}

/// Removes everything that was learned, and the policies of a test.
fn forget(path: &mut DataPath) -> anyhow::Result<()> {
    path.tables.clear_sets()?;
    let Tables {
        policy,
        dialogs,
        contacts,
        history,
        ..
    } = &mut path.tables;
    dialogs.open(Access::Write)?.clear();
    contacts.open(Access::Write)?.clear();
    for i in 0..history.len() {
        history.set(i, Record::default(), 0)?;
    }
    let rules: Vec<_> = policy.iter().collect::<Result<_, _>>()?;
    for (key, _) in rules {
        policy.remove(&key)?;
    }
    set(policy, "default", Policy::Auto)
}

/// Sets the policy of a prefix.
fn set(
    policies: &mut LpmTrie<MapData, [u8; 16], Rule>,
    prefix: &str,
    policy: Policy,
) -> anyhow::Result<()> {
    let prefix: Prefix = prefix.parse()?;
    let rule = Rule {
        choice: policy as u8,
        origin: origin::USER,
        reserved: [0; 2],
    };
    Ok(policies.insert(&prefix.key(), rule, 0)?)
}

impl Path {
    /// Returns empty maps and policy `auto`.
    pub(crate) fn new() -> Self {
        let idle = IDLE.lock().expect("no test failed here").pop();
        let path = idle.or_else(|| Self::with(|_| ()).0.path.take());
        Self(Lent { path, usual: true })
    }

    /// Returns a data path for a PBX whose sockets are bound to no address.
    pub(crate) fn wildcard() -> Self {
        Self::configured(|config| config.wildcards = u32::MAX)
    }

    /// Returns a data path for an interface whose senders leave checksums to their NICs.
    pub(crate) fn with_partial_checksums() -> Self {
        Self::configured(|config| config.partial_checksums = 1)
    }

    /// Returns a data path with another configuration.
    fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let mut path = Self::with(|_| ());
        path.configure(change);
        path
    }

    /// Changes the configuration.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.0.tables.config().expect("a configuration");
        change(&mut config);
        let set = self.0.tables.config.set(0, config, 0);
        set.expect("a configuration that can be written");
    }

    /// Returns a data path with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let object = object::read(None).expect(NO_OBJECT);
        let mut setup = Setup {
            // The loops of this kernel are already known.
            loops: loops()[0],
            ..Setup::small()
        };
        change(&mut setup);
        let loader = Loader::new(&object, &setup.settings)
            .addresses(setup.addresses)
            .loops(setup.loops);
        Self(loader.load().expect(NO_PATH).into())
    }

    /// Runs a program on a frame. Returns its return value and the frame after it.
    pub(crate) fn test(&mut self, ingress: bool, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = if ingress {
            self.0.ingress().expect("ingress").test_run(options)
        } else {
            self.0.egress().expect("egress").test_run(options)
        }
        .expect("a test run");
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// Calls `f`. Returns its result and the counters that have grown.
    fn counted<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> (T, BTreeMap<&'static str, u64>) {
        let read = |path: &Self| -> Vec<u64> {
            let count = |c: &Counter| path.0.tables.count(*c).expect("a counter");
            Counter::ALL.iter().map(count).collect()
        };
        let before = read(self);
        let result = f(self);
        let grown = read(self)
            .into_iter()
            .zip(before)
            .map(|(after, before)| after - before);
        let counted = Counter::ALL.iter().map(|c| c.name()).zip(grown);
        (result, counted.filter(|(_, n)| *n > 0).collect())
    }

    /// Runs a program on a frame, and checks that it has counted exactly one verdict. Returns action, frame, verdict
    /// and events.
    pub(crate) fn run(
        &mut self,
        ingress: bool,
        frame: &[u8],
    ) -> (u32, Vec<u8>, &'static str, Vec<&'static str>) {
        let ((action, out), counted) = self.counted(|path| path.test(ingress, frame));
        let kind = if ingress {
            CounterKind::Ingress
        } else {
            CounterKind::Egress
        };
        let of = |wanted: bool| -> Vec<&'static str> {
            let is = |name: &&str| {
                Counter::ALL
                    .iter()
                    .any(|c| c.name() == *name && (c.kind() == kind) == wanted)
            };
            counted.keys().copied().filter(is).collect()
        };
        let verdicts = of(true);
        assert_eq!(verdicts.len(), 1, "exactly one verdict: {counted:?}");
        assert_eq!(counted[verdicts[0]], 1, "{counted:?}");
        (action, out, verdicts[0], of(false))
    }

    /// A frame arrives and passes unchanged. Returns the verdict.
    pub(crate) fn arrives(&mut self, frame: &[u8]) -> &'static str {
        let (action, out, verdict, _) = self.run(true, frame);
        assert_eq!(action, XDP_PASS, "{verdict}");
        assert_eq!(out, frame, "{verdict}: changed");
        verdict
    }

    /// The PBX sends a frame that is not changed. Returns the verdict.
    pub(crate) fn leaves(&mut self, frame: &[u8]) -> &'static str {
        let (action, out, verdict, _) = self.run(false, frame);
        assert_eq!(action, TC_ACT_UNSPEC, "{verdict}");
        assert_eq!(out, frame, "{verdict}: changed");
        verdict
    }

    /// The PBX sends a frame. Returns action, frame and verdict.
    pub(crate) fn sends(&mut self, frame: &[u8]) -> (u32, Vec<u8>, &'static str) {
        let (action, out, verdict, _) = self.run(false, frame);
        (action, out, verdict)
    }

    /// The PBX sends a message to `meant`, and it goes to `to`: the frame is the one that the PBX would have sent to
    /// `to`.
    pub(crate) fn goes_to(&mut self, message: &str, meant: &str, to: &str, verdict: &str) {
        let (action, out, why) = self.sends(&frames::outbound(meant, message));
        assert_eq!(why, verdict, "{message}");
        assert!(frames::checksums_are_right(&out), "{message}");
        // etherparse builds that frame anew.
        assert_eq!(out, frames::outbound(to, message), "{message}");
        let is_rerouted = meant.split(':').next() != to.split(':').next();
        assert_eq!(
            action,
            if is_rerouted {
                TC_ACT_REDIRECT
            } else {
                TC_ACT_UNSPEC
            }
        );
    }

    /// The PBX sends a message. Returns the events that were counted.
    pub(crate) fn events(&mut self, to: &str, message: &str) -> Vec<&'static str> {
        self.run(false, &frames::outbound(to, message)).3
    }

    /// The phone calls, and the PBX accepts. The phone's ACK proves that it got the answer at its learned address.
    pub(crate) fn call(&mut self) {
        self.arrives(&frames::inbound(frames::PHONE, frames::INVITE));
        let answer = frames::answer(frames::INVITE, "200 OK");
        self.leaves(&frames::outbound(frames::PHONE, &answer));
        self.arrives(&frames::inbound(frames::PHONE, &frames::ack()));
    }

    /// The phone registers, and the PBX accepts.
    pub(crate) fn register(&mut self) {
        self.arrives(&frames::inbound(frames::PHONE, frames::REGISTER));
        let answer = frames::answer(frames::REGISTER, "200 OK");
        self.leaves(&frames::outbound(frames::PHONE, &answer));
    }

    /// The PBX calls the registered phone in vain at its advertised address, then at the learned one. The phone answers.
    pub(crate) fn prove(&mut self) {
        let call = frames::CALL.replace("incoming", "proof");
        let call = frames::outbound(frames::ADVERTISED, &call);
        assert_eq!(self.leaves(&call), "out_original_first");
        assert_eq!(self.sends(&call).2, "out_redirected_contact");
        let busy = frames::CALL.replace("incoming", "proof");
        let busy = frames::answer(&busy, "486 Busy Here");
        self.arrives(&frames::inbound(frames::PHONE, &busy));
    }

    /// The PBX sends a message to `meant` twice. The first goes there, and the second to `to`.
    pub(crate) fn then_goes_to(&mut self, message: &str, meant: &str, to: &str, verdict: &str) {
        assert_eq!(
            self.leaves(&frames::outbound(meant, message)),
            "out_original_first",
            "{message}"
        );
        self.goes_to(message, meant, to, verdict);
    }

    /// Sets the policy of a prefix.
    pub(crate) fn policy(&mut self, prefix: &str, policy: Policy) {
        set(&mut self.0.tables.policy, prefix, policy).expect("a rule");
    }

    /// Returns the bindings of dialog ends.
    pub(crate) fn dialogs(&self) -> Vec<Binding> {
        let dialogs = self.0.tables.dialogs.open(Access::Read);
        let dialogs = dialogs.expect("the table");
        dialogs.iter().map(|(_, binding)| binding).collect()
    }

    /// Returns the bindings of contacts, each under its two keys.
    pub(crate) fn contacts(&self) -> Vec<Binding> {
        let contacts = self.0.tables.contacts.open(Access::Read);
        let contacts = contacts.expect("the table");
        contacts.iter().map(|(_, binding)| binding).collect()
    }
}

/// Returns an endpoint as maps hold it.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::from(text.parse::<std::net::SocketAddr>().expect("an address"))
}
