//! Registrars to which the PBX sends REGISTERs on, and which the user has not named.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr, net::SocketAddr};

use anyhow::Result;
use nat_common::abi::{InboundFlags, InboundTransaction, SECOND, ticks};

use crate::{checks::warnings::Warning, host::clock, kernel::tables::Tables, view::rows};

/// Ticks for which a REGISTER is remembered here: most terminals register within that time.
const AGE: u64 = ticks(3600 * SECOND);

/// Lists warnings, one for each host, that with the most REGISTERs first.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn find(tables: &Tables) -> Result<Vec<Warning>> {
    let inbound = tables.inbound.read()?;
    let entries = inbound.live(ticks(clock::now()), AGE);
    Ok(warnings(entries.map(|slot| slot.entry.value)))
}

fn warnings(entries: impl Iterator<Item = InboundTransaction>) -> Vec<Warning> {
    let mut registers = HashMap::<IpAddr, usize>::new();
    let sent_on = InboundFlags::REGISTER | InboundFlags::SENT_ON;
    for entry in entries.filter(|entry| entry.flags.contains(sent_on)) {
        if let Some(host) = rows::known(entry.advertised()).as_ref().map(SocketAddr::ip) {
            *registers.entry(host).or_default() += 1;
        }
    }
    let mut registers: Vec<_> = registers.into_iter().collect();
    registers.sort_unstable_by_key(|(host, count)| (Reverse(*count), *host));
    registers
        .into_iter()
        .map(|(host, _)| {
            let mut warning = Warning::without_terminal(
                format!(
                    "the PBX sends REGISTERs on to {host}, which --registrar does not name: registrations through it are \
                     not followed"
                ),
                Some(format!(
                    "if that is your registrar: sipnat run ... --registrar {host}; if you do not know it, leave it: a \
                     stranger can make a proxy send there"
                )),
            );
            warning.registrar = Some(host);
            warning
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use nat_common::endpoint::Endpoint;

    use super::*;

    #[test]
    fn each_host_is_warned_of_once() {
        let entry = |flags, host, port| {
            let mut entry = InboundTransaction {
                flags,
                ..InboundTransaction::default()
            };
            entry.set_advertised(&Endpoint::v4([192, 0, 2, host], port));
            entry
        };
        let sent_on = InboundFlags::REGISTER | InboundFlags::SENT_ON;
        let found = warnings(
            [
                entry(sent_on, 1, 5060),
                entry(sent_on, 2, 5060),
                entry(sent_on, 2, 5080),
                // The terminal's own Contact, in the entry with the branch.
                entry(InboundFlags::REGISTER, 3, 5060),
                InboundTransaction {
                    flags: sent_on,
                    ..InboundTransaction::default()
                },
            ]
            .into_iter(),
        );
        let texts: Vec<&str> = found.iter().map(|warning| warning.text.as_str()).collect();
        assert_eq!(
            texts,
            [2, 1].map(|host| format!(
                "the PBX sends REGISTERs on to 192.0.2.{host}, which --registrar does not name: registrations through it \
                 are not followed"
            ))
        );
        let json = serde_json::to_value(&found[0]).unwrap();
        assert_eq!(json["registrar"], "192.0.2.2");
        let remedy = found[0].remedy.as_deref().unwrap();
        assert!(
            remedy.contains("sipnat run ... --registrar 192.0.2.2"),
            "{remedy}"
        );
        assert!(
            remedy.contains("a stranger can make a proxy send there"),
            "{remedy}"
        );
    }
}
