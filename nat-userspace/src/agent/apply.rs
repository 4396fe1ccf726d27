//! Changed settings, applied while the programs work.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::abi::{Config, SECOND};

use crate::{
    agent::{addresses::Addresses, outcome::Outcome},
    host::prefix::Prefix,
    kernel::{
        config,
        kinds::AddressMap,
        rules::{self, Rules},
    },
    settings::{Keepalives, Settings, Stun},
};

/// Maps that settings change.
pub(super) struct Maps<'t> {
    pub(super) config: &'t mut Array<MapData, Config>,
    pub(super) policy: &'t mut Rules,
    pub(super) guard: &'t mut Rules,
    pub(super) addresses: &'t mut AddressMap,
}

/// The settings in force, and how to read them again.
pub(super) struct Live<'a> {
    /// Settings of the start, for which the tables were made.
    start: Settings,
    /// Settings in force.
    pub(super) settings: Settings,
    /// Reads the configuration file and the flags.
    read: &'a dyn Fn() -> Result<Settings>,
    /// Number of reloads.
    reloads: u64,
}

impl<'a> Live<'a> {
    /// Begins with the settings of the start.
    pub(super) fn new(settings: &Settings, read: &'a dyn Fn() -> Result<Settings>) -> Self {
        Self {
            start: settings.clone(),
            settings: settings.clone(),
            read,
            reloads: 0,
        }
    }

    /// Reads the settings again, and applies those that need no restart. A wrong configuration changes nothing.
    pub(super) async fn reload(
        &mut self,
        maps: Maps<'_>,
        addresses: &mut Addresses<'_>,
    ) -> Outcome {
        self.reloads += 1;
        let outcome = self.apply(maps, addresses).await;
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            refused: Some(format!("{error:#}")),
            ..Outcome::default()
        });
        Outcome {
            number: self.reloads,
            ..outcome
        }
    }

    async fn apply(&mut self, maps: Maps<'_>, addresses: &mut Addresses<'_>) -> Result<Outcome> {
        let wanted = (self.read)()?;
        config::config(&wanted)?;
        let next = without_restart(&self.start, &self.settings, &wanted);
        let known = maps.config.get(&0, 0).context("cannot read CONFIG")?;
        let config = reconfigured(known, &self.settings, &next)?;
        // First, because it reads routes and may fail.
        if (&next.peers, &next.registrars) != (&self.settings.peers, &self.settings.registrars) {
            addresses.name(&next);
            let updated = addresses.update(maps.policy, maps.addresses).await;
            if updated.is_err() {
                addresses.name(&self.settings);
            }
            updated?;
        }
        if next.policy != self.settings.policy {
            rules::write(maps.policy, Prefix::Default, rules::default(next.policy))?;
        }
        if next.guard != self.settings.guard {
            rules::write(maps.guard, Prefix::Default, rules::default(next.guard))?;
        }
        maps.config
            .set(0, config, 0)
            .context("cannot write CONFIG")?;
        let names = |names: Vec<&str>| names.into_iter().map(String::from).collect();
        let outcome = Outcome {
            applied: names(self.settings.differences(&next)),
            restart: names(next.differences(&wanted)),
            ..Outcome::default()
        };
        self.settings = next;
        Ok(outcome)
    }
}

/// Returns the settings of `now`, with those of `wanted` that need no restart.
///
/// If STUN was off at the `start`, its tables have one entry, and it cannot be switched on.
fn without_restart(start: &Settings, now: &Settings, wanted: &Settings) -> Settings {
    Settings {
        policy: wanted.policy,
        registrars: wanted.registrars.clone(),
        peers: wanted.peers.clone(),
        settle: wanted.settle,
        dialogs: wanted.dialogs,
        shadow: wanted.shadow,
        stun: Stun {
            answer: wanted.stun.answer && start.stun.answer,
            ..wanted.stun
        },
        keepalives: keepalives(&start.keepalives, &now.keepalives, &wanted.keepalives),
        media_ports: wanted.media_ports,
        externals: wanted.externals.clone(),
        guard: wanted.guard,
        restore: wanted.restore,
        guesses: wanted.guesses.clone(),
        keep: wanted.keep,
        // It matters at the start only.
        wait: wanted.wait,
        ..now.clone()
    }
}

/// Returns the settings of keepalives. If they were off at the `start`, their table has one entry, and they cannot be switched on.
fn keepalives(start: &Keepalives, now: &Keepalives, wanted: &Keepalives) -> Keepalives {
    let rules = if start.are_on() || !wanted.are_on() {
        &wanted.rules
    } else {
        &now.rules
    };
    Keepalives {
        rules: rules.clone(),
        ..*wanted
    }
}

/// Returns `known` with the settings of `next` that differ from `now`. The programs read it meanwhile: no other word changes.
fn reconfigured(known: Config, now: &Settings, next: &Settings) -> Result<Config> {
    let fresh = config::config(next)?;
    let lasts = |settings: &Settings| u64::from(settings.settle) * SECOND;
    Ok(Config {
        shadow: fresh.shadow,
        dialog_lives: fresh.dialog_lives,
        stun: fresh.stun,
        stun_port: fresh.stun_port,
        stun_rate: fresh.stun_rate,
        stun_total: fresh.stun_total,
        // It counts from the first start, which this agent may not have seen.
        settled: (known.settled + lasts(next)).saturating_sub(lasts(now)),
        ..known
    })
}

#[cfg(test)]
mod tests {
    use nat_common::abi::{Guard, Policy};

    use super::*;
    use crate::settings::{Dialogs, keepalive_rule};

    #[test]
    fn keepalives_can_be_switched_on_if_they_were_at_the_start() {
        let of = |rule: &str, misses| Keepalives {
            rules: vec![keepalive_rule(rule).unwrap()],
            misses,
            ..Keepalives::default()
        };
        let (on, off) = (of("options", 3), of("off", 5));
        assert_eq!(keepalives(&on, &on, &off), off);
        assert_eq!(keepalives(&on, &off, &of("crlf", 4)), of("crlf", 4));
        assert_eq!(keepalives(&off, &off, &on), of("off", 3));
    }

    #[test]
    fn what_needs_a_restart_stays() {
        let now = Settings {
            interfaces: vec!["eth0".into()],
            ..Settings::default()
        };
        let wanted = Settings {
            interfaces: vec!["eth1".into()],
            ports: vec![5080],
            policy: Policy::Off,
            keep: true,
            media_ports: [4000, 5000],
            guard: Guard::Drop,
            restore: true,
            guesses: vec!["192.0.2.0/24".parse().unwrap()],
            stun: Stun {
                answer: true,
                rate: 5,
                ..Stun::default()
            },
            ..now.clone()
        };
        let next = without_restart(&now, &now, &wanted);
        assert_eq!(
            now.differences(&next),
            [
                "policy",
                "stun-rate",
                "media-ports",
                "media-guard",
                "media-restore",
                "media-guess",
                "keep"
            ]
        );
        assert_eq!(next.differences(&wanted), ["iface", "port", "stun"]);
    }

    #[test]
    fn stun_can_be_switched_off_for_shadow_and_on_again() {
        let answering = Settings {
            stun: Stun {
                answer: true,
                ..Stun::default()
            },
            ..Settings::default()
        };
        let shadow = Settings {
            shadow: true,
            dialogs: Dialogs {
                early: 240,
                ..Dialogs::default()
            },
            ..Settings::default()
        };
        let next = without_restart(&answering, &answering, &shadow);
        assert_eq!(next, shadow);
        let known = config::config(&answering).unwrap();
        let config = reconfigured(known, &answering, &next).unwrap();
        assert_ne!(config.shadow, 0);
        assert_eq!(config.stun, 0);
        assert_eq!(config.dialog_lives[1], 240 * SECOND);
        assert_eq!((config.secret, config.masks), (known.secret, known.masks));
        assert_eq!(config.bucket_mask, known.bucket_mask);
        // Its tables are there.
        let again = without_restart(&answering, &shadow, &answering);
        assert_eq!(again, answering);
        let never = without_restart(&shadow, &shadow, &answering);
        assert_eq!(never.differences(&answering), ["stun"]);
    }

    #[test]
    fn settling_ends_earlier_or_later() {
        let now = Settings::default();
        let known = config::config(&now).unwrap();
        let settled = |settle| {
            let next = Settings {
                settle,
                ..now.clone()
            };
            reconfigured(known, &now, &next).unwrap().settled
        };
        assert_eq!(settled(now.settle), known.settled);
        assert_eq!(settled(now.settle + 5), known.settled + 5 * SECOND);
        assert_eq!(settled(now.settle - 5), known.settled - 5 * SECOND);
    }
}
