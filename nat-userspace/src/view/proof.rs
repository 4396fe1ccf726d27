//! Proof of where a binding's terminal is reached.
//!
//! `PEERS` has its facts by hashes of the PBX's socket and the addresses. Here they are found by the addresses in them; if
//! several sockets of the PBX have a fact of the same addresses, the newest is shown.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Result;
use nat_common::{
    abi::{BindingFlags, Entry, Peer, PeerFlags, SECOND, age, ticks},
    engine::lifetimes::{ANSWERED_LIFE, FOREVER, PEER_LIFE},
};
use serde::Serialize;

use crate::{
    host::clock,
    kernel::tables::Tables,
    view::rows::{self, BindingKind, Row, seconds},
};

/// All that is proven of a binding's addresses.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Proof by this dialog; none for a contact.
    dialog: Option<DialogProof>,
    /// Proof by this contact; none for a dialog end.
    contact: Option<ContactProof>,
    /// Learned address against original destinations, the advertised address first.
    pairs: Vec<Pair>,
    /// Set if the advertised address answered a request that sipnat left alone there.
    answered: Option<Fact>,
    /// Set if the advertised address is the learned address of a terminal.
    resident: Option<Fact>,
}

/// Proof by a dialog.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct DialogProof {
    /// The packet with the PBX's tag went to the learned address.
    told: bool,
    /// The terminal gets what is sent to its learned address.
    proven: bool,
}

/// Proof by a contact.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ContactProof {
    /// The user of the Contact URI is that of the address-of-record.
    own_user: bool,
    /// Time until requests that only the URI names are followed (`--settle`), if they are not yet.
    settles_in_seconds: Option<u64>,
    /// Requests that only the URI names were answered at the learned address, and not at the original destination.
    uri_proven: bool,
}

/// Pair of the learned address and an original destination.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Pair {
    original: SocketAddr,
    /// The terminal answers at the learned address.
    proven: bool,
    /// The original destination had been tried before, so the answer may be one to that.
    seeming: bool,
    /// The terminal does not get what is sent to its learned address.
    deaf: bool,
    /// Time since the proof, or else since the last transmission.
    seconds_ago: u64,
    /// Transmissions since the last answer.
    unanswered: u8,
    /// Answers at the original destination since the last one at the learned address.
    strikes: u8,
}

/// Fact of the advertised address.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Fact {
    seconds_ago: u64,
    /// Set if the terminal there has the binding's owner; none if an owner is unknown.
    same_owner: Option<bool>,
}

impl Proof {
    /// Reads the proof of a row.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn read(tables: &Tables, row: &Row) -> Result<Self> {
        let now = clock::now();
        let unsettled = tables.config()?.settled.saturating_sub(now) / SECOND;
        let peers = tables.peers.read()?;
        let entries = peers.live(ticks(now), FOREVER).map(|slot| slot.entry);
        Ok(Self::of(row, entries, ticks(now), unsettled))
    }

    /// Makes the proof of a row of all entries of `PEERS`, `unsettled` seconds before contacts are trusted.
    fn of(row: &Row, peers: impl Iterator<Item = Entry<Peer>>, now: u64, unsettled: u64) -> Self {
        let has = |flag| row.flags.contains(flag);
        let mut proof = Self::default();
        match row.kind {
            BindingKind::Dialog => {
                proof.dialog = Some(DialogProof {
                    told: has(BindingFlags::TOLD),
                    proven: has(BindingFlags::PROVEN),
                });
            }
            BindingKind::Contact => {
                let own_user = has(BindingFlags::OWN_USER);
                proof.contact = Some(ContactProof {
                    own_user,
                    settles_in_seconds: (!own_user && unsettled > 0).then_some(unsettled),
                    uri_proven: has(BindingFlags::WEAK),
                });
            }
        }
        let mut pairs = BTreeMap::<SocketAddr, Entry<Peer>>::new();
        let (mut answered, mut resident) = (None, None);
        for entry in peers {
            let address = SocketAddr::from(entry.value.learned());
            if let Some(original) = rows::known(entry.value.original()) {
                if address == row.learned && age(now, entry.at) < PEER_LIFE {
                    let newest = pairs.entry(original).or_insert(entry);
                    *newest = newer(*newest, entry);
                }
                continue;
            }
            let (fact, life) = if entry.value.flags.contains(PeerFlags::ANSWERED) {
                (&mut answered, ANSWERED_LIFE)
            } else if entry.value.flags.contains(PeerFlags::LEARNED) {
                (&mut resident, PEER_LIFE)
            } else {
                continue;
            };
            if Some(address) == row.advertised && age(now, entry.at) < life {
                *fact = Some(fact.map_or(entry, |known| closer(known, entry, row.owner)));
            }
        }
        let fact = |entry: Option<Entry<Peer>>| {
            entry.map(|entry| {
                let owners = [entry.value.owner, row.owner];
                Fact {
                    seconds_ago: seconds_ago(now, entry.at),
                    same_owner: (!owners.contains(&0)).then_some(owners[0] == owners[1]),
                }
            })
        };
        proof.answered = fact(answered);
        proof.resident = fact(resident);
        proof.pairs = pairs
            .into_iter()
            .map(|(original, entry)| Pair {
                original,
                proven: entry.value.flags.contains(PeerFlags::PROVEN),
                seeming: entry.value.flags.contains(PeerFlags::SEEMING),
                deaf: entry.value.flags.contains(PeerFlags::DEAF),
                seconds_ago: seconds_ago(now, entry.at),
                unanswered: entry.value.unanswered,
                strikes: entry.value.strikes,
            })
            .collect();
        let is_other = |pair: &Pair| Some(pair.original) != row.advertised;
        proof.pairs.sort_by_key(is_other);
        proof
    }

    /// Describes it, one statement a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.dialog {
            Some(DialogProof { proven: true, .. }) => {
                lines.push("in this dialog, the terminal got what went to its learned address".into());
            }
            Some(DialogProof { told: true, .. }) => lines.push(
                "in this dialog, the PBX's answer went to the learned address; no sign yet that it arrived".into(),
            ),
            _ => {}
        }
        if let Some(contact) = &self.contact {
            let user = if contact.own_user {
                "the user of its Contact URI is its owner's"
            } else {
                "the user of its Contact URI is not its owner's"
            };
            lines.push(contact.settles_in_seconds.map_or_else(
                || user.into(),
                |left| {
                    let left = seconds(left);
                    format!(
                        "{user}: requests that only the URI names are left alone for {left} more"
                    )
                },
            ));
            if contact.uri_proven {
                lines.push(
                    "requests that only its Contact URI names are answered at its learned address"
                        .into(),
                );
            }
        }
        lines.extend(self.pairs.iter().map(Pair::line));
        let same = |fact: &Fact, same: &str, other: &str, unknown: &str| {
            let words = match fact.same_owner {
                Some(true) => same,
                Some(false) => other,
                None => unknown,
            };
            format!("{words}, {} ago", seconds(fact.seconds_ago))
        };
        if let Some(fact) = &self.answered {
            lines.push(same(
                fact,
                "the advertised address answers by itself, as this terminal",
                "the advertised address answers by itself, as another terminal",
                "the advertised address answers by itself",
            ));
        }
        if let Some(fact) = &self.resident {
            lines.push(same(
                fact,
                "the advertised address is the learned address of the same owner's terminal",
                "the advertised address is the learned address of another owner's terminal",
                "the advertised address is the learned address of a terminal",
            ));
        }
        lines
    }
}

impl Pair {
    fn line(&self) -> String {
        let original = self.original;
        let ago = seconds(self.seconds_ago);
        let mut line = if self.deaf {
            format!(
                "it does not get what is sent to its learned address instead of {original}, {ago} ago"
            )
        } else if self.proven && self.seeming {
            format!(
                "it seems to have answered at its learned address, after {original} was tried, {ago} ago"
            )
        } else if self.proven {
            format!("it answered at its learned address instead of {original}, {ago} ago")
        } else if self.strikes > 0 {
            format!("it answered at {original} instead of its learned address, {ago} ago")
        } else {
            format!("nothing is proven of its learned address and {original}")
        };
        let many = |count, noun| format!("; {count} {noun}{}", if count == 1 { "" } else { "s" });
        if self.unanswered > 0 {
            line += &many(self.unanswered, "unanswered transmission");
        }
        if self.strikes > 0 && (self.proven || self.deaf) {
            line += &many(self.strikes, "later answer");
            line += &format!(" from {original}");
        }
        line
    }
}

/// Returns the newer of two entries.
fn newer(a: Entry<Peer>, b: Entry<Peer>) -> Entry<Peer> {
    if b.at > a.at { b } else { a }
}

/// Returns the entry of the owner, of two; else the newer one. An address has a fact for each owner, and one for any.
fn closer(a: Entry<Peer>, b: Entry<Peer>, owner: u64) -> Entry<Peer> {
    match [a, b].map(|entry| entry.value.owner == owner) {
        [true, false] => a,
        [false, true] => b,
        _ => newer(a, b),
    }
}

fn seconds_ago(now: u64, at: u64) -> u64 {
    age(now, at) / ticks(SECOND)
}

#[cfg(test)]
mod tests {
    use nat_common::{
        abi::{Binding, ContactKey, DialogKey},
        endpoint::Endpoint,
    };

    use super::*;
    use crate::view::rows::{
        RowKey,
        tests::{NOW, binding},
    };

    const OWNER: u64 = 9;
    /// Learned and advertised address of the row.
    const LEARNED: Endpoint = Endpoint::v4([60, 17, 196, 2], 49163);
    const ADVERTISED: Endpoint = Endpoint::v4([60, 17, 196, 2], 5060);
    const ELSEWHERE: Endpoint = Endpoint::v4([10, 0, 0, 7], 5060);

    fn row(kind: BindingKind, flags: BindingFlags) -> Row {
        let b = Binding {
            flags,
            aor: OWNER,
            ..binding("1000@60.17.196.2")
        };
        let key = match kind {
            BindingKind::Dialog => RowKey::Dialog(DialogKey { call: 1, tag: 2 }),
            BindingKind::Contact => RowKey::Contact(ContactKey { uri: 1, aor: OWNER }),
        };
        Row::new(key, kind, &b, NOW)
    }

    fn entry(learned: Endpoint, original: Endpoint, flags: PeerFlags, ago: u64) -> Entry<Peer> {
        let mut value = Peer {
            flags,
            ..Peer::default()
        };
        value.set_learned(&learned);
        value.set_original(&original);
        Entry {
            value,
            at: ticks(NOW - ago * SECOND),
        }
    }

    fn owned(mut entry: Entry<Peer>, owner: u64) -> Entry<Peer> {
        entry.value.owner = owner;
        entry
    }

    fn dialog(peers: &[Entry<Peer>]) -> Proof {
        let row = row(BindingKind::Dialog, BindingFlags::TOLD);
        Proof::of(&row, peers.iter().copied(), ticks(NOW), 0)
    }

    #[test]
    fn flags_say_what_the_binding_has_proven() {
        let lines = |kind, flags| {
            let proof = Proof::of(&row(kind, flags), [].into_iter(), ticks(NOW), 0);
            proof.lines().join("\n")
        };
        let none = BindingFlags::empty();
        assert_eq!(lines(BindingKind::Dialog, none), "");
        let told = lines(BindingKind::Dialog, BindingFlags::TOLD);
        assert!(told.contains("no sign yet"), "{told}");
        let proven = BindingFlags::TOLD | BindingFlags::PROVEN;
        let proven = lines(BindingKind::Dialog, proven);
        assert!(proven.contains("the terminal got what"), "{proven}");
        let contact = lines(BindingKind::Contact, none);
        assert_eq!(contact, "the user of its Contact URI is not its owner's");
        let contact = lines(
            BindingKind::Contact,
            BindingFlags::OWN_USER | BindingFlags::WEAK,
        );
        assert_eq!(
            contact,
            "the user of its Contact URI is its owner's\n\
             requests that only its Contact URI names are answered at its learned address"
        );
    }

    #[test]
    fn a_contact_that_is_not_trusted_yet_says_so() {
        let line = |flags| {
            let row = row(BindingKind::Contact, flags);
            Proof::of(&row, [].into_iter(), ticks(NOW), 3601)
                .lines()
                .remove(0)
        };
        let waits = line(BindingFlags::empty());
        assert!(waits.ends_with("are left alone for 1h 1s more"), "{waits}");
        let trusted = line(BindingFlags::OWN_USER);
        assert_eq!(trusted, "the user of its Contact URI is its owner's");
    }

    /// The kernel programs note an answer for its owner, and another time for any.
    #[test]
    fn the_fact_of_the_owner_shows_before_newer_ones() {
        let answered = |owner, ago| {
            let fact = entry(ADVERTISED, Endpoint::UNKNOWN, PeerFlags::ANSWERED, ago);
            owned(fact, owner)
        };
        for facts in [
            [answered(0, 3), answered(OWNER, 5)],
            [answered(OWNER, 5), answered(0, 3)],
        ] {
            let shown = dialog(&facts).answered;
            assert_eq!(
                shown,
                Some(Fact {
                    seconds_ago: 5,
                    same_owner: Some(true)
                })
            );
        }
    }

    #[test]
    fn pairs_show_with_the_advertised_address_first() {
        let mut advertised = entry(LEARNED, ADVERTISED, PeerFlags::PROVEN, 65);
        (advertised.value.unanswered, advertised.value.strikes) = (2, 1);
        let mut open = entry(LEARNED, ELSEWHERE, PeerFlags::empty(), 3);
        open.value.unanswered = 1;
        let proof = dialog(&[
            open,
            // Another socket of the PBX.
            entry(LEARNED, ADVERTISED, PeerFlags::empty(), 100),
            advertised,
            // Another terminal.
            entry(ELSEWHERE, ADVERTISED, PeerFlags::PROVEN, 1),
        ]);
        assert_eq!(
            proof.lines()[1..],
            [
                "it answered at its learned address instead of 60.17.196.2:5060, 1m 5s ago; 2 unanswered transmissions; 1 \
                 later answer from 60.17.196.2:5060",
                "nothing is proven of its learned address and 10.0.0.7:5060; 1 unanswered transmission",
            ]
        );
        let json = serde_json::to_value(&proof).unwrap();
        assert_eq!(json["dialog"]["told"], true);
        assert_eq!(json["pairs"][0]["original"], "60.17.196.2:5060");
        assert_eq!(json["pairs"][0]["seconds_ago"], 65);
        assert!(json["contact"].is_null() && json["answered"].is_null());
    }

    #[test]
    fn a_pair_says_how_sure_its_proof_is() {
        let line = |flags| {
            let proof = dialog(&[entry(LEARNED, ADVERTISED, flags, 5)]);
            proof.lines().pop().unwrap()
        };
        assert_eq!(
            line(PeerFlags::PROVEN | PeerFlags::HEARS),
            "it answered at its learned address instead of 60.17.196.2:5060, 5s ago"
        );
        assert_eq!(
            line(PeerFlags::PROVEN | PeerFlags::SEEMING),
            "it seems to have answered at its learned address, after 60.17.196.2:5060 was tried, 5s ago"
        );
        assert_eq!(
            line(PeerFlags::DEAF),
            "it does not get what is sent to its learned address instead of 60.17.196.2:5060, 5s ago"
        );
        let mut answers = entry(LEARNED, ADVERTISED, PeerFlags::empty(), 5);
        answers.value.strikes = 1;
        assert_eq!(
            dialog(&[answers]).lines().pop().unwrap(),
            "it answered at 60.17.196.2:5060 instead of its learned address, 5s ago"
        );
    }

    #[test]
    fn facts_of_the_advertised_address_show_whose_they_are() {
        let fact = |flags, ago| entry(ADVERTISED, Endpoint::UNKNOWN, flags, ago);
        let proof = dialog(&[
            owned(fact(PeerFlags::ANSWERED, 60), OWNER),
            owned(fact(PeerFlags::LEARNED, 120), OWNER + 1),
            entry(ELSEWHERE, Endpoint::UNKNOWN, PeerFlags::ANSWERED, 1),
            // Facts that say nothing of who is there now.
            owned(fact(PeerFlags::LEFT, 1), OWNER),
            owned(fact(PeerFlags::PINGED, 1), OWNER),
        ]);
        assert_eq!(
            proof.lines()[1..],
            [
                "the advertised address answers by itself, as this terminal, 1m ago",
                "the advertised address is the learned address of another owner's terminal, 2m ago",
            ]
        );
        let unknown = dialog(&[fact(PeerFlags::ANSWERED, 60)]);
        assert_eq!(
            unknown.lines()[1..],
            ["the advertised address answers by itself, 1m ago"]
        );
        assert_eq!(unknown.answered.unwrap().same_owner, None);
    }

    #[test]
    fn what_is_too_old_is_no_proof() {
        let later = ticks(NOW) + PEER_LIFE;
        let row = row(BindingKind::Dialog, BindingFlags::TOLD);
        let peers = [
            entry(LEARNED, ADVERTISED, PeerFlags::PROVEN, 0),
            entry(ADVERTISED, Endpoint::UNKNOWN, PeerFlags::LEARNED, 0),
            entry(ADVERTISED, Endpoint::UNKNOWN, PeerFlags::ANSWERED, 0),
        ];
        let proof = Proof::of(&row, peers.into_iter(), later, 0);
        assert!(proof.pairs.is_empty());
        assert_eq!(proof.resident, None);
        assert!(proof.answered.is_some());
    }
}
