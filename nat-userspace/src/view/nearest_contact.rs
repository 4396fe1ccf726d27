//! The contact that is nearest to a Request-URI which names none, and what differs.

use serde::Serialize;

use crate::view::rows::{BindingKind, BindingState, Row, RowKey};

/// Contact that is nearest to a Request-URI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Nearest {
    /// Id of the contact, as `bindings list` shows it.
    id: String,
    /// Its owner.
    terminal: Option<String>,
    /// Its URI, without scheme.
    uri: String,
    /// Parts that differ; none if the URIs are the same.
    differs: Vec<String>,
    #[serde(skip)]
    likeness: u32,
}

impl Nearest {
    /// Compares the URI of a contact to a Request-URI. None if neither user nor host is the same.
    pub(super) fn of(row: &Row, request: &str) -> Option<Self> {
        let is_contact = row.kind == BindingKind::Contact && matches!(row.key, RowKey::Contact(_));
        if !is_contact || row.state == BindingState::Pending {
            return None;
        }
        let uri = row.uri.clone().or_else(|| {
            let user = row.terminal.as_deref()?.split('@').next()?;
            Some(format!("{user}@{}", row.advertised?))
        })?;
        let (ours, theirs) = (Parts::of(&uri), Parts::of(request));
        let same_user = ours.user == theirs.user;
        let same_host = ours.host.eq_ignore_ascii_case(theirs.host);
        if !same_user && !same_host {
            return None;
        }
        let mut differs = Vec::new();
        let mut differ = |name: &str, same: bool, ours: &str, theirs: &str| {
            if !same {
                differs.push(format!("{name} {}, not {}", quoted(ours), quoted(theirs)));
            }
            u32::from(same)
        };
        let likeness = 4 * differ("user", same_user, ours.user, theirs.user)
            + 4 * differ("host", same_host, ours.host, theirs.host)
            + 2 * differ("port", ours.port == theirs.port, ours.port, theirs.port)
            + differ(
                "parameters",
                ours.sorted_parameters() == theirs.sorted_parameters(),
                ours.parameters,
                theirs.parameters,
            );
        Some(Self {
            id: row.id.clone(),
            terminal: row.terminal.clone(),
            uri,
            differs,
            likeness,
        })
    }

    /// Keeps the nearer of two.
    pub(super) fn or_nearer(known: Option<Self>, other: Self) -> Option<Self> {
        Some(
            known
                .filter(|known| known.likeness >= other.likeness)
                .unwrap_or(other),
        )
    }

    /// Describes it in a line.
    pub(super) fn line(&self) -> String {
        let Self {
            id,
            terminal,
            uri,
            differs,
            ..
        } = self;
        let of = terminal
            .as_deref()
            .map(|terminal| format!(" of {terminal}"));
        let what = if differs.is_empty() {
            "the same URI".into()
        } else {
            format!("its {}", differs.join("; its "))
        };
        format!(
            "nearest contact {}{}, {uri}: {what}",
            &id[..8],
            of.unwrap_or_default()
        )
    }
}

/// Parts of a SIP URI without scheme, as they were written.
struct Parts<'t> {
    user: &'t str,
    host: &'t str,
    port: &'t str,
    parameters: &'t str,
}

impl<'t> Parts<'t> {
    fn of(uri: &'t str) -> Self {
        let (user, rest) = uri.split_once('@').unwrap_or(("", uri));
        let (address, parameters) = rest.split_at(rest.find([';', '?']).unwrap_or(rest.len()));
        // The colons of an IPv6 address stand in brackets.
        let host_end = address.rfind(']').map_or(0, |bracket| bracket + 1);
        let colon = address[host_end..].find(':').map(|colon| host_end + colon);
        let (host, port) = match colon {
            Some(colon) => (&address[..colon], &address[colon + 1..]),
            None => (address, ""),
        };
        Self {
            user,
            host,
            port,
            parameters,
        }
    }

    /// Returns the parameters as they are compared (RFC 3261 19.1.4). Asterisk drops `lr`.
    fn sorted_parameters(&self) -> Vec<String> {
        let lower = self.parameters.to_ascii_lowercase();
        let mut all: Vec<String> = lower
            .split([';', '?'])
            .filter(|parameter| !parameter.is_empty() && *parameter != "lr")
            .map(str::to_owned)
            .collect();
        all.sort();
        all
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        "none".into()
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use nat_common::abi::ContactKey;

    use super::*;
    use crate::view::rows::tests::{NOW, binding};

    fn contact(uri: Option<&str>) -> Row {
        let key = RowKey::Contact(ContactKey {
            uri: 0xabcd << 48,
            aor: 1,
        });
        let mut row = Row::new(key, BindingKind::Contact, &binding("1000@pbx"), NOW);
        row.uri = uri.map(str::to_owned);
        row
    }

    #[test]
    fn what_differs_is_named() {
        for (uri, request, line) in [
            (
                "1000@192.168.1.10:5062",
                "1000@192.168.1.10",
                "1000@192.168.1.10:5062: its port `5062`, not none",
            ),
            (
                "1000@192.168.1.10;ob;transport=udp",
                "1000@192.168.1.10;Transport=UDP",
                "1000@192.168.1.10;ob;transport=udp: its parameters `;ob;transport=udp`, not `;Transport=UDP`",
            ),
            (
                "1000@192.168.1.10;transport=udp;lr;ob",
                "1000@192.168.1.10;ob;transport=UDP",
                "1000@192.168.1.10;transport=udp;lr;ob: the same URI",
            ),
            (
                "1000-0xab@[2001:db8::1]:5060",
                "1000@[2001:DB8::1]:5060",
                "1000-0xab@[2001:db8::1]:5060: its user `1000-0xab`, not `1000`",
            ),
            (
                "1000@phone.local",
                "1000@192.168.1.10",
                "1000@phone.local: its host `phone.local`, not `192.168.1.10`",
            ),
        ] {
            let nearest = Nearest::of(&contact(Some(uri)), request).unwrap();
            assert_eq!(
                nearest.line(),
                format!("nearest contact abcd0001 of 1000@pbx, {line}")
            );
        }
        assert_eq!(Nearest::of(&contact(Some("1000@a")), "1001@b"), None);
        // The PBX has not listed the URI.
        let nearest = Nearest::of(&contact(None), "1000@60.17.196.2").unwrap();
        assert_eq!(nearest.uri, "1000@60.17.196.2:5060");
    }

    #[test]
    fn the_nearer_one_is_kept() {
        let nearest = |uri| Nearest::of(&contact(Some(uri)), "1000@a:5062").unwrap();
        for (near, far) in [
            ("1000@a", "1001@a:5062"),
            ("1000@a:5060", "1000@b:5062"),
            ("1000@a:5062;ob", "1000@a"),
        ] {
            for pair in [[near, far], [far, near]] {
                let found = pair
                    .into_iter()
                    .fold(None, |known, uri| Nearest::or_nearer(known, nearest(uri)));
                assert_eq!(found.unwrap().uri, near);
            }
        }
    }
}
