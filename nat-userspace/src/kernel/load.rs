//! Loads the kernel programs: maps made and filled, both programs past the verifier, nothing
//! attached and nothing pinned yet.

use std::io;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, SchedClassifier, Xdp},
};
use log::{LevelFilter, debug};
use nat_common::{
    abi::{self, ABI, Config, MAX_PORTS, Policy, PolicyRule, map, origin},
    tables::buckets,
};

use crate::{host::prefix::Prefix, kernel::tables::Tables};

/// The XDP program.
pub const INGRESS: &str = "ingress";
/// The TC program.
pub const EGRESS: &str = "egress";

/// How the programs loop. The object has each of them in either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    /// By `may_goto`, since 6.9: faster.
    MayGoto,
    /// By a helper that calls back.
    BpfLoop,
}

impl Loops {
    const fn ingress(self) -> &'static str {
        match self {
            Self::MayGoto => INGRESS,
            Self::BpfLoop => "ingress_loop",
        }
    }

    const fn egress(self) -> &'static str {
        match self {
            Self::MayGoto => EGRESS,
            Self::BpfLoop => "egress_loop",
        }
    }

    /// Of a program by that name.
    #[must_use]
    pub fn of(program: &str) -> Self {
        if program == Self::BpfLoop.ingress() || program == Self::BpfLoop.egress() {
            Self::BpfLoop
        } else {
            Self::MayGoto
        }
    }

    /// As the kernel's documentation calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MayGoto => "may_goto",
            Self::BpfLoop => "bpf_loop",
        }
    }

    /// What this kernel takes: the object has a program that does nothing else.
    fn probe(ebpf: &mut Ebpf) -> Result<Self> {
        let loops = match xdp(ebpf, "may_goto")?.load() {
            Ok(()) => Self::MayGoto,
            Err(ProgramError::LoadError { .. }) => Self::BpfLoop,
            Err(error) => return Err(error).context("cannot ask the kernel for `may_goto`"),
        };
        debug!("the programs loop by {}", loops.name());
        Ok(loops)
    }
}

/// How much the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sets of four in `INBOUND` and in `OUTBOUND`; a power of two.
    pub transactions: u32,
    /// Sets of four in `PENDING`; a power of two.
    pub pending: u32,
    /// Sets of four in `PEERS`; a power of two.
    pub peers: u32,
    /// Sets of four in `FRAGMENTS`; a power of two.
    pub fragments: u32,
    /// Records in `HISTORY`; a power of two.
    pub history: u32,
    /// Lines of eight in `BUCKETS`; a power of two. Without STUN there is one.
    pub buckets: u32,
    /// Sets of four in `STUN`; a power of two. Without STUN there is one.
    pub stun: u32,
    /// Entries in `DIALOGS` and in `CONTACTS`; memory is taken only as they fill.
    pub bindings: u32,
}

impl Default for Sizes {
    /// 64k transactions each way last 32 s at 2000 messages a second.
    fn default() -> Self {
        Self {
            transactions: 16384,
            pending: 4096,
            peers: 4096,
            fragments: 1024,
            history: 65_536,
            buckets: 8192,
            stun: 4096,
            bindings: 262_144,
        }
    }
}

/// How STUN requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun {
    /// On this port beside the SIP ports, if any.
    pub port: Option<u16>,
    /// To one address, in a second; 0: there is no limit.
    pub rate: u32,
    /// To one address, at once; at least 1.
    pub burst: u32,
    /// Whether answers say by which software.
    pub software: bool,
}

impl Default for Stun {
    fn default() -> Self {
        Self {
            port: Some(3478),
            rate: 20,
            burst: 50,
            software: false,
        }
    }
}

/// What to load, and with which settings.
#[derive(Clone, Debug)]
pub struct Loader<'o> {
    object: &'o [u8],
    ports: Vec<u16>,
    rules: Vec<(Prefix, PolicyRule)>,
    addresses: Vec<(Prefix, u32)>,
    stun: Option<Stun>,
    sizes: Sizes,
    shadow: bool,
    loops: Option<Loops>,
    log: LevelFilter,
    verifier_log: bool,
}

impl<'o> Loader<'o> {
    /// For the ELF object `object`: port 5060, policy `auto`, no STUN, not in shadow, kernel logging off.
    #[must_use]
    pub fn new(object: &'o [u8]) -> Self {
        Self {
            object,
            ports: vec![5060],
            rules: vec![rule(Prefix::Default, Policy::Auto, origin::DEFAULT)],
            addresses: Vec::new(),
            stun: None,
            sizes: Sizes::default(),
            shadow: false,
            loops: None,
            log: LevelFilter::Off,
            verifier_log: false,
        }
    }

    /// The SIP ports, at most [`MAX_PORTS`].
    #[must_use]
    pub fn ports(mut self, ports: &[u16]) -> Self {
        self.ports = ports.to_vec();
        self
    }

    /// What is done for terminals that no other rule names.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.rule(Prefix::Default, policy, origin::DEFAULT)
    }

    /// A rule; a later one for the same prefix replaces it.
    #[must_use]
    pub fn rule(mut self, prefix: Prefix, policy: Policy, origin: u8) -> Self {
        self.rules.push(rule(prefix, policy, origin));
        self
    }

    /// Answer STUN.
    #[must_use]
    pub fn stun(mut self, stun: Option<Stun>) -> Self {
        self.stun = stun;
        self
    }

    /// What an address or subnet is to this host, one of [`abi::address`]: STUN is answered accordingly.
    #[must_use]
    pub fn address(mut self, prefix: Prefix, kind: u32) -> Self {
        self.addresses.push((prefix, kind));
        self
    }

    /// Sizes of the maps.
    #[must_use]
    pub fn sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Learn, decide and count, but redirect nothing.
    #[must_use]
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// How the programs loop, instead of as the kernel likes best.
    #[must_use]
    pub fn loops(mut self, loops: Loops) -> Self {
        self.loops = Some(loops);
        self
    }

    /// How much the programs log. Below `Info` the verifier removes logging from them.
    #[must_use]
    pub fn log(mut self, level: LevelFilter) -> Self {
        self.log = level;
        self
    }

    /// Have the verifier say how it came to refuse a program, not only why. That may be a hundred megabytes, and take
    /// as many seconds as it takes to write them.
    #[must_use]
    pub fn verifier_log(mut self, wanted: bool) -> Self {
        self.verifier_log = wanted;
        self
    }

    /// Makes and fills the maps, and loads both programs.
    ///
    /// # Errors
    /// If a setting is out of range, the object is not sipnat's, or the kernel refuses: a program
    /// refused by the verifier is a [`Rejected`].
    pub fn load(self) -> Result<DataPath> {
        let config = self.config()?;
        let log = if self.log < LevelFilter::Info {
            0
        } else {
            self.log as u8
        };
        let said = if self.verifier_log {
            VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
        } else {
            VerifierLogLevel::STATS
        };
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(map::INBOUND, self.sizes.transactions)
            .map_max_entries(map::OUTBOUND, self.sizes.transactions)
            .map_max_entries(map::PENDING, self.sizes.pending)
            .map_max_entries(map::PEERS, self.sizes.peers)
            .map_max_entries(map::FRAGMENTS, self.sizes.fragments)
            .map_max_entries(map::HISTORY, self.sizes.history)
            .map_max_entries(map::BUCKETS, config.bucket_mask + 1)
            .map_max_entries(map::STUN, config.stun_mask + 1)
            .map_max_entries(map::DIALOGS, self.sizes.bindings)
            .map_max_entries(map::CONTACTS, self.sizes.bindings)
            // Not there when the programs log nothing.
            .override_global(aya_log::LEVEL, &log, false)
            .verifier_log_level(said)
            .load(self.object)
            .context("cannot load the eBPF object")?;

        let loops = match self.loops {
            Some(loops) => verify(&mut ebpf, loops)?,
            None => verify_either(&mut ebpf)?,
        };

        let mut tables = Tables::take(&mut ebpf)?;
        tables
            .config
            .set(0, config, 0)
            .context("cannot write CONFIG")?;
        for (prefix, rule) in self.rules {
            tables
                .policy
                .insert(&prefix.key(), rule, 0)
                .with_context(|| format!("cannot write the policy for {prefix}"))?;
        }
        for (prefix, kind) in self.addresses {
            tables
                .addresses
                .insert(&prefix.key(), kind, 0)
                .with_context(|| format!("cannot write the address {prefix}"))?;
        }
        Ok(DataPath {
            ebpf,
            tables,
            loops,
        })
    }

    fn config(&self) -> Result<Config> {
        let Sizes {
            transactions,
            pending,
            peers,
            fragments,
            history,
            buckets,
            stun,
            bindings,
        } = self.sizes;
        ensure!(
            [
                transactions,
                pending,
                peers,
                fragments,
                history,
                buckets,
                stun,
            ]
            .into_iter()
            .all(u32::is_power_of_two)
                && bindings > 0,
            "sizes of tables other than those of bindings must be powers of two: {:?}",
            self.sizes
        );
        ensure!(!self.ports.is_empty(), "no SIP port given");
        ensure!(
            self.ports.len() <= MAX_PORTS,
            "{} ports given, at most {MAX_PORTS} can be served",
            self.ports.len()
        );
        ensure!(!self.ports.contains(&0), "port 0 is no port");
        let mut ports = [0; MAX_PORTS];
        ports[..self.ports.len()].copy_from_slice(&self.ports);
        let mut config = Config {
            secret: [getrandom::u64()?, getrandom::u64()?],
            abi: ABI,
            transaction_mask: transactions - 1,
            pending_mask: pending - 1,
            peer_mask: peers - 1,
            fragment_mask: fragments - 1,
            history_mask: history - 1,
            shadow: self.shadow.into(),
            ports,
            ..Config::default()
        };
        if let Some(answer) = self.stun {
            ensure!(answer.port != Some(0), "port 0 is no port");
            ensure!(answer.burst > 0, "a STUN burst of 0 would answer nothing");
            config.stun = abi::stun::ANSWER;
            if answer.software {
                config.stun |= abi::stun::SOFTWARE;
            }
            config.stun_port = answer.port.map_or(0, u32::from);
            config.stun_rate = buckets::rate(answer.rate, answer.burst);
            config.bucket_mask = buckets - 1;
            config.stun_mask = stun - 1;
        }
        Ok(config)
    }
}

/// Has the kernel verify and load both programs.
fn verify(ebpf: &mut Ebpf, loops: Loops) -> Result<Loops> {
    xdp(ebpf, loops.ingress())?
        .load()
        .map_err(|e| refused(INGRESS, e))?;
    classifier(ebpf, loops.egress())?
        .load()
        .map_err(|e| refused(EGRESS, e))?;
    Ok(loops)
}

/// The same, looping as the kernel likes. A kernel may have `may_goto`, and a verifier that does not get through the
/// programs with it.
fn verify_either(ebpf: &mut Ebpf) -> Result<Loops> {
    let first = Loops::probe(ebpf)?;
    match verify(ebpf, first) {
        Err(error) if first == Loops::MayGoto && error.is::<Rejected>() => {
            debug!("trying bpf_loop instead: {error}");
            verify(ebpf, Loops::BpfLoop).map_err(|_also| error)
        }
        result => result,
    }
}

const fn rule(prefix: Prefix, policy: Policy, origin: u8) -> (Prefix, PolicyRule) {
    let rule = PolicyRule {
        policy: policy as u8,
        origin,
        reserved: [0; 2],
    };
    (prefix, rule)
}

/// Both programs, loaded, and their maps. Dropped, all of it goes.
pub struct DataPath {
    /// The object; its shared maps have moved to `tables`.
    pub ebpf: Ebpf,
    /// The maps.
    pub tables: Tables,
    /// How its programs loop.
    pub loops: Loops,
}

impl DataPath {
    /// The XDP program.
    ///
    /// # Errors
    /// Never, once loaded.
    pub fn ingress(&mut self) -> Result<&mut Xdp> {
        xdp(&mut self.ebpf, self.loops.ingress())
    }

    /// The TC program.
    ///
    /// # Errors
    /// Never, once loaded.
    pub fn egress(&mut self) -> Result<&mut SchedClassifier> {
        classifier(&mut self.ebpf, self.loops.egress())
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("the eBPF object has no program `{name}`"))
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    program(ebpf, name)?
        .try_into()
        .map_err(|_| anyhow!("program `{name}` is no XDP program"))
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier> {
    program(ebpf, name)?
        .try_into()
        .map_err(|_| anyhow!("program `{name}` is no TC classifier"))
}

/// A program that the verifier did not take.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's verifier refuses program `{program}`: {} ({error})", self.reason())]
pub struct Rejected {
    /// Its name.
    pub program: &'static str,
    /// What the kernel returned.
    pub error: io::Error,
    /// All that the verifier said.
    pub log: String,
}

impl Rejected {
    /// The verifier's last word before its statistics.
    fn reason(&self) -> &str {
        self.log
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty() && !is_statistics(line))
            .unwrap_or("it gives no reason")
    }
}

fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time", "stack depth"]
        .iter()
        .any(|start| line.starts_with(start))
}

fn refused(program: &'static str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => Rejected {
            program,
            error: io_error,
            log: verifier_log.to_string(),
        }
        .into(),
        error => anyhow!(error).context(format!("cannot load program `{program}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let loader = Loader::new(&[]);
        assert!(loader.config().is_ok());
        for ports in [&[][..], &[0], &[5060, 0], &[1; MAX_PORTS + 1]] {
            assert!(loader.clone().ports(ports).config().is_err(), "{ports:?}");
        }
        let odd = Sizes {
            transactions: 1000,
            ..Sizes::default()
        };
        assert!(loader.sizes(odd).config().is_err());
    }

    #[test]
    fn configuration_says_what_the_kernel_needs() {
        let config = Loader::new(&[]).ports(&[5060, 5080]).config().unwrap();
        assert_eq!(config.abi, ABI);
        assert_eq!(config.ports, [5060, 5080, 0, 0, 0, 0, 0, 0]);
        assert_eq!(config.transaction_mask, 16383);
        assert_eq!(config.shadow, 0);
        assert_ne!(Loader::new(&[]).shadow(true).config().unwrap().shadow, 0);
        let other = Loader::new(&[]).config().unwrap();
        assert_ne!(config.secret, other.secret, "the secret is fresh each time");
    }

    #[test]
    fn a_rejection_names_the_reason_only() {
        let rejected = Rejected {
            program: INGRESS,
            error: io::Error::from_raw_os_error(13),
            log: "0: R1=ctx()\n1: (79) r2 = *(u64 *)(r1 +0)\nR1 invalid mem access 'scalar'\n\
                  verification time 9 usec\nstack depth 0\nprocessed 2 insns (limit 1000000)\n"
                .into(),
        };
        assert_eq!(
            rejected.to_string(),
            "the kernel's verifier refuses program `ingress`: \
             R1 invalid mem access 'scalar' (Permission denied (os error 13))"
        );
    }
}
