//! A data path that is loaded, and not attached.

use std::collections::BTreeMap;

use aya::programs::{TestRun as _, TestRunOptions};
use nat_common::abi::{Binding, Endpoint, Policy, origin};
use nat_common::counter::{Counter, Kind};
use nat_userspace::loader::{DataPath, Loader, Loops, Sizes};
use nat_userspace::object;
use nat_userspace::prefix::Prefix;
use nat_userspace::preflight::Kernel;
use nat_userspace::tables;

use crate::frames;

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
/// -1: what comes next is left to other programs.
pub(crate) const TC_ACT_UNSPEC: u32 = u32::MAX;
pub(crate) const TC_ACT_REDIRECT: u32 = 7;

/// How the programs can loop on this kernel, the faster way first.
pub(crate) fn loops() -> &'static [Loops] {
    /// The first that has `may_goto`.
    const MAY_GOTO: Kernel = Kernel(6, 9);
    let kernel = Kernel::running().expect("a version");
    if kernel < MAY_GOTO {
        println!("skipped: loops by may_goto, which needs kernel {MAY_GOTO}; this is {kernel}");
        &[Loops::BpfLoop]
    } else {
        &[Loops::MayGoto, Loops::BpfLoop]
    }
}

/// Both programs and their maps.
pub(crate) struct Path(pub(crate) DataPath);

impl Path {
    /// Loads them anew, policy `auto`.
    pub(crate) fn new() -> Self {
        Self::with(|loader| loader)
    }

    /// The same with other settings.
    pub(crate) fn with(settings: impl FnOnce(Loader<'_>) -> Loader<'_>) -> Self {
        let object =
            object::read(None).expect("the kernel programs; `cargo xtask test` builds them");
        let sizes = Sizes {
            transactions: 64,
            pending: 64,
            peers: 64,
            fragments: 64,
            history: 64,
            buckets: 64,
            stun: 64,
            bindings: 64,
        };
        let path = settings(Loader::new(&object).sizes(sizes)).load();
        Self(path.expect("it takes root, and a kernel of 6.1 or later"))
    }

    /// The programs run on one frame: what they return, and the frame as it then is.
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

    /// What was counted while `f` ran.
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

    /// Runs a program on a frame and checks that exactly one verdict was counted. The action, the frame, the
    /// verdict and the events.
    pub(crate) fn run(
        &mut self,
        ingress: bool,
        frame: &[u8],
    ) -> (u32, Vec<u8>, &'static str, Vec<&'static str>) {
        let ((action, out), counted) = self.counted(|path| path.test(ingress, frame));
        let kind = if ingress { Kind::Ingress } else { Kind::Egress };
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

    /// A frame arrives: it passes as it is. The verdict.
    pub(crate) fn arrives(&mut self, frame: &[u8]) -> &'static str {
        let (action, out, verdict, _) = self.run(true, frame);
        assert_eq!(action, XDP_PASS, "{verdict}");
        assert_eq!(out, frame, "{verdict}: changed");
        verdict
    }

    /// The PBX sends a frame that is left alone. The verdict.
    pub(crate) fn leaves(&mut self, frame: &[u8]) -> &'static str {
        let (action, out, verdict, _) = self.run(false, frame);
        assert_eq!(action, TC_ACT_UNSPEC, "{verdict}");
        assert_eq!(out, frame, "{verdict}: changed");
        verdict
    }

    /// The PBX sends a frame. The action, the frame as it is then, and the verdict.
    pub(crate) fn sends(&mut self, frame: &[u8]) -> (u32, Vec<u8>, &'static str) {
        let (action, out, verdict, _) = self.run(false, frame);
        (action, out, verdict)
    }

    /// What happened to bindings when the PBX sends a message.
    pub(crate) fn events(&mut self, to: &str, message: &str) -> Vec<&'static str> {
        self.run(false, &frames::outbound(to, message)).3
    }

    /// The phone's call, accepted by the PBX.
    pub(crate) fn call(&mut self) {
        self.arrives(&frames::inbound(frames::PHONE, frames::INVITE));
        let answer = frames::answer(frames::INVITE, "200 OK");
        self.leaves(&frames::outbound(frames::PHONE, &answer));
    }

    /// The phone's registration, accepted by the PBX.
    pub(crate) fn register(&mut self) {
        self.arrives(&frames::inbound(frames::PHONE, frames::REGISTER));
        let answer = frames::answer(frames::REGISTER, "200 OK");
        self.leaves(&frames::outbound(frames::PHONE, &answer));
    }

    /// Sets the policy of a prefix.
    pub(crate) fn policy(&mut self, prefix: &str, policy: Policy) {
        let prefix: Prefix = prefix.parse().expect("a prefix");
        let rule = nat_common::abi::PolicyRule {
            policy: policy as u8,
            origin: origin::USER,
            reserved: [0; 2],
        };
        self.0
            .tables
            .policy
            .insert(&prefix.key(), rule, 0)
            .expect("a rule");
    }

    /// The active dialog ends.
    pub(crate) fn dialogs(&self) -> Vec<Binding> {
        let all = tables::entries(&self.0.tables.dialogs).expect("the dialogs");
        all.into_iter().map(|(_, binding)| binding).collect()
    }

    /// The contacts, each under its two keys.
    pub(crate) fn contacts(&self) -> Vec<Binding> {
        let all = tables::entries(&self.0.tables.contacts).expect("the contacts");
        all.into_iter().map(|(_, binding)| binding).collect()
    }
}

/// An endpoint in a map.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::from(text.parse::<std::net::SocketAddr>().expect("an address"))
}
