//! Loads the kernel programs: makes and fills the maps, and has the verifier take both programs. Nothing is attached or
//! pinned yet.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::MapInfo,
    programs::{ProgramError, ProgramInfo, SchedClassifier, Xdp},
};
use log::LevelFilter;
use nat_common::abi::{Config, Interface, MAX_INTERFACES, MediaConfig, Rule, SECOND, map};
use tracing::debug;

use crate::{
    host::{prefix::Prefix, terminal::note},
    kernel::{
        config::{config, sizes},
        description::Description,
        kinds,
        loops::{EGRESS, INGRESS, Loops},
        media, policy,
        programs::{classifier, xdp},
        refusal::{self, Rejected},
        rules,
        tables::{BINDINGS, Tables, sized},
    },
    settings::Settings,
};

/// Addresses of this host and around it, as the programs know them from the beginning.
#[derive(Clone, Debug, Default)]
pub struct HostAddresses {
    /// Subnets on the interfaces' own links: their policy is `off`.
    pub on_link: Vec<Prefix>,
    /// Entries of `ADDRESSES`: kinds of [`nat_common::abi::address`].
    pub kinds: Vec<(Prefix, u32)>,
}

/// All that an agent writes into the maps for the programs.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Their settings.
    pub config: Config,
    /// Default policy.
    pub policy: Rule,
    /// Default guard of media.
    pub guard: Rule,
    /// Addresses that they know.
    pub addresses: HostAddresses,
    /// Settings of media.
    pub media: MediaConfig,
}

impl Inputs {
    /// Reads what the maps contain.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(tables: &Tables) -> Result<Self> {
        let policy = rules::read(&tables.policy)?.remove(&Prefix::Default);
        let guard = rules::read(&tables.guard)?.remove(&Prefix::Default);
        Ok(Self {
            config: tables.config()?,
            policy: policy.context("POLICY has no default")?,
            guard: guard.context("GUARD has no default")?,
            addresses: HostAddresses {
                on_link: policy::on_link(&tables.policy)?.into_iter().collect(),
                kinds: kinds::read(&tables.addresses)?.into_iter().collect(),
            },
            media: tables.media_config()?,
        })
    }

    /// Writes all into the maps. Rules of the user stay, and a rule that the user removed is not made again.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(self, tables: &mut Tables) -> Result<()> {
        tables
            .config
            .set(0, self.config, 0)
            .context("cannot write CONFIG")?;
        tables
            .media_config
            .set(0, self.media, 0)
            .context("cannot write MEDIA_CONFIG")?;
        rules::write(&mut tables.policy, Prefix::Default, self.policy)?;
        rules::write(&mut tables.guard, Prefix::Default, self.guard)?;
        let mut known_kinds = kinds::read(&tables.addresses)?;
        let mut known = policy::on_link(&tables.policy)?;
        // The user may have removed the rule of a subnet on link.
        known.extend(kinds::on_link(&known_kinds));
        let on_link = self.addresses.on_link.into_iter().collect();
        policy::follow(&mut tables.policy, &known, &on_link)?;
        let kinds = self.addresses.kinds.into_iter().collect();
        kinds::follow(&mut tables.addresses, &mut known_kinds, &kinds)
    }
}

/// A load of the kernel programs, with what the settings do not say.
#[derive(Clone)]
pub struct Loader<'a> {
    object: &'a [u8],
    settings: &'a Settings,
    addresses: HostAddresses,
    wildcards: u32,
    partial_checksums: bool,
    interfaces: [Interface; MAX_INTERFACES],
    loops: Option<Loops>,
    log: LevelFilter,
    earlier: Option<Continued<'a>>,
    replay: Option<u64>,
}

/// Maps of an earlier data path that go on.
#[derive(Clone, Copy)]
struct Continued<'a> {
    tables: &'a Tables,
    pins: &'a Path,
}

impl<'a> Loader<'a> {
    /// Prepares to load the ELF object `object`. No addresses are known, the PBX's sockets are bound to an address, the
    /// interfaces are real, and the programs log nothing.
    #[must_use]
    pub fn new(object: &'a [u8], settings: &'a Settings) -> Self {
        Self {
            object,
            settings,
            addresses: HostAddresses::default(),
            wildcards: 0,
            partial_checksums: false,
            interfaces: Default::default(),
            loops: None,
            log: LevelFilter::Off,
            earlier: None,
            replay: None,
        }
    }

    /// Uses the maps of an earlier data path, which are pinned in `pins`, and its secret. A map of another size than the
    /// settings want, or of another layout, begins empty; [`carry`](crate::kernel::carry) fills those of bindings.
    #[must_use]
    pub fn continuing(mut self, tables: &'a Tables, pins: &'a Path) -> Self {
        self.earlier = Some(Continued { tables, pins });
        self
    }

    /// Sets the addresses that the programs know.
    #[must_use]
    pub fn addresses(mut self, addresses: HostAddresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Sets which of the SIP ports have sockets that are bound to no address: a bit for each.
    #[must_use]
    pub fn wildcards(mut self, bits: u32) -> Self {
        self.wildcards = bits;
        self
    }

    /// Sets whether an interface may receive packets whose UDP checksum is partial.
    #[must_use]
    pub fn partial_checksums(mut self, partial: bool) -> Self {
        self.partial_checksums = partial;
        self
    }

    /// Sets what the programs know of their interfaces.
    #[must_use]
    pub fn interfaces(mut self, interfaces: [Interface; MAX_INTERFACES]) -> Self {
        self.interfaces = interfaces;
        self
    }

    /// Sets the form of the programs' loops. By default the kernel takes the best that it can.
    #[must_use]
    pub fn loops(mut self, loops: Loops) -> Self {
        self.loops = Some(loops);
        self
    }

    /// Sets how much the programs log. Below `Info` the verifier removes logging from them.
    #[must_use]
    pub fn log(mut self, level: LevelFilter) -> Self {
        self.log = level;
        self
    }

    /// Has the programs take the time from their caller ([`ReplayClock`](crate::kernel::test_run::ReplayClock)), which starts
    /// at `start`.
    #[must_use]
    pub fn replaying(mut self, start: u64) -> Self {
        self.replay = Some(start);
        self
    }

    /// Makes and fills the maps, and loads both programs. Maps that go on change last: until then, the earlier programs
    /// work as before.
    ///
    /// # Errors
    /// If a setting is out of range, the object is not sipnat's, or the kernel refuses: a program
    /// refused by the verifier is a [`Rejected`].
    pub fn load(self) -> Result<DataPath> {
        let mut config = Config {
            wildcards: self.wildcards,
            partial_checksums: self.partial_checksums.into(),
            interfaces: self.interfaces,
            ..config(self.settings)?
        };
        if let Some(earlier) = &self.earlier {
            let known = earlier.tables.config()?;
            config.secret = known.secret;
            config.settled = config.settled.min(known.settled);
            if config.keepalive != [0; 2] && known.keepalive != [0; 2] {
                // Answers may be on the way.
                config.keepalive = known.keepalive;
            }
        }
        if let Some(start) = self.replay {
            config.settled = start + u64::from(self.settings.settle) * SECOND;
        }
        let mut ebpf = self.make_maps()?;
        let (loops, refused) = match self.loops {
            Some(loops) => (verify(&mut ebpf, loops)?, None),
            None => verify_either(&mut ebpf)?,
        };
        if self.settings.media {
            media::load(&mut ebpf, loops)?;
        }
        let mut tables = Tables::take(&mut ebpf)?;
        Description::own().write(&mut tables.layout)?;
        let inputs = Inputs {
            config,
            policy: rules::default(self.settings.policy),
            guard: rules::default(self.settings.guard),
            media: tables.media_config()?,
            addresses: self.addresses,
        };
        let kinds = inputs.addresses.kinds.clone();
        inputs.write(&mut tables)?;
        // The agent warns of addresses without slots.
        let _left_out = media::follow(&mut tables, &kinds, self.settings)?;
        Ok(DataPath {
            ebpf,
            tables,
            loops,
            refused,
            media: self.settings.media,
        })
    }

    fn make_maps(&self) -> Result<Ebpf> {
        let sizes = sizes(self.settings)?;
        let log = if self.log < LevelFilter::Info {
            0
        } else {
            self.log as u8
        };
        let mut loader = EbpfLoader::new();
        let sized: HashMap<&str, u32> = sized(&sizes).into_iter().collect();
        for (name, entries) in &sized {
            loader.map_max_entries(name, *entries);
        }
        if let Some(Continued { tables, pins }) = self.earlier {
            let media_goes_on = sized.get(map::MEDIA) == Some(&tables.media.len());
            for table in tables.maps() {
                let info = table.map.info()?;
                let is = info.max_entries();
                let pinned = MapInfo::from_pin(pins.join(table.name));
                if !pinned.is_ok_and(|pinned| pinned.id() == info.id()) {
                    // It stands for one of another layout.
                    continue;
                }
                match sized.get(table.name) {
                    Some(wanted) if *wanted != is => {
                        if !BINDINGS.contains(&table.name) && table.name != map::MEDIA {
                            note(&format!("{} begins empty: its size changes", table.name));
                        }
                    }
                    // Its bits are those of slots.
                    None if table.name == map::MEDIA_BITS && !media_goes_on => {}
                    _ => _ = loader.map_pin_path(table.name, pins.join(table.name)),
                }
            }
        }
        loader
            // aya reads all types of the kernel for relocations, of which the object has none.
            .btf(None)
            // The object has no such global when the programs log nothing.
            .override_global(aya_log::LEVEL, &log, false)
            .override_global(MEDIA_ON, &u32::from(self.settings.media), true)
            .override_global(REPLAY, &u32::from(self.replay.is_some()), true)
            .verifier_log_level(if self.settings.verifier_log {
                VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
            } else {
                VerifierLogLevel::STATS
            })
            .load(self.object)
            .context("cannot load the eBPF object")
    }
}

/// Global of the object that is not 0 if media are on.
const MEDIA_ON: &str = "MEDIA_ON";

/// Global of the object that is not 0 if the caller of the programs has the time.
const REPLAY: &str = "REPLAY";

/// Has the kernel verify and load both programs.
fn verify(ebpf: &mut Ebpf, loops: Loops) -> Result<Loops> {
    xdp(ebpf, loops.ingress())?
        .load()
        .map_err(|e| refusal::of_program(INGRESS, e))?;
    classifier(ebpf, loops.egress())?
        .load()
        .map_err(|e| refusal::of_program(EGRESS, e))?;
    Ok(loops)
}

/// Has the kernel verify and load both programs, with the loops that it can verify: a kernel may have `may_goto`, and a
/// verifier that does not get through the programs with it. Returns why it refused those, too.
fn verify_either(ebpf: &mut Ebpf) -> Result<(Loops, Option<String>)> {
    let first = probe(ebpf)?;
    match verify(ebpf, first) {
        Err(error) if first == Loops::MayGoto && error.is::<Rejected>() => {
            let why = error.to_string();
            let loops = verify(ebpf, Loops::BpfLoop).map_err(|_also| error)?;
            Ok((loops, Some(why)))
        }
        result => Ok((result?, None)),
    }
}

/// Asks the kernel for `may_goto`, with a program that does nothing else.
fn probe(ebpf: &mut Ebpf) -> Result<Loops> {
    let loops = match xdp(ebpf, "may_goto")?.load() {
        Ok(()) => Loops::MayGoto,
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) if !refusal::is_no_verdict(&io_error, &verifier_log.to_string()) => Loops::BpfLoop,
        Err(error) => return Err(refusal::of_program("may_goto", error)),
    };
    debug!(
        loops = loops.name(),
        "the programs loop by {}",
        loops.name()
    );
    Ok(loops)
}

/// Both programs, which can be attached.
pub trait Programs {
    /// Returns the XDP program.
    ///
    /// # Errors
    /// Never, once loaded.
    fn ingress(&mut self) -> Result<&mut Xdp>;

    /// Returns the TC program.
    ///
    /// # Errors
    /// Never, once loaded.
    fn egress(&mut self) -> Result<&mut SchedClassifier>;
}

/// Both programs, loaded, and their maps. Dropping it unloads what is neither attached nor pinned.
pub struct DataPath {
    /// The object; its shared maps have moved to `tables`.
    pub ebpf: Ebpf,
    /// The maps.
    pub tables: Tables,
    /// Form of the programs' loops.
    pub loops: Loops,
    /// Reason for which the verifier refused the programs with `may_goto`, which the kernel has.
    pub refused: Option<String>,
    /// Whether the programs of media are loaded.
    pub media: bool,
}

impl DataPath {
    /// Returns what the kernel says of the programs of media, by the names under which they are pinned.
    ///
    /// # Errors
    /// If they are not loaded.
    pub fn media_programs(&mut self) -> Result<Vec<(&'static str, ProgramInfo)>> {
        let mut all = Vec::new();
        media::each(&mut self.ebpf, self.loops, |program| {
            all.push(program.info()?);
            Ok(())
        })?;
        Ok(all)
    }
}

impl Programs for DataPath {
    fn ingress(&mut self) -> Result<&mut Xdp> {
        xdp(&mut self.ebpf, self.loops.ingress())
    }

    fn egress(&mut self) -> Result<&mut SchedClassifier> {
        classifier(&mut self.ebpf, self.loops.egress())
    }
}
