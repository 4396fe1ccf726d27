//! nftables rules that a packet of a phone meets on its path to the PBX, and one of the PBX on its path to sipnat.
//!
//! A packet is played against the rules. What a rule asks of it that is not read here may be so or not.

use std::{io, net::Ipv4Addr, process::Command, slice};

use serde_json::Value;

/// Depth of chains that jump to chains, as the kernel allows it.
const DEPTH: u32 = 16;

/// Fate of a packet in the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No rule drops it.
    Passes,
    /// This chain drops it, or may.
    Dropped {
        /// Family, table and chain.
        chain: String,
        /// Set if it depends on what is not read here.
        perhaps: bool,
    },
}

/// A UDP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'p> {
    /// Hooks that it passes.
    pub(super) hooks: &'p [&'p str],
    /// Interface by which it comes; none if it leaves.
    pub(super) from: Option<&'p str>,
    /// Its source port.
    pub(super) sport: u16,
    /// Its destination port.
    pub(super) dport: u16,
    /// Its destination, as far as it matters.
    pub(super) daddr: Option<Ipv4Addr>,
}

/// Reads the rules of this network namespace, as `nft -j` lists them. None if there is no nft.
///
/// # Errors
/// If it fails, as without CAP_NET_ADMIN, or prints no JSON.
pub(super) fn rules() -> io::Result<Option<Value>> {
    let output = match Command::new("nft").args(["-j", "list", "ruleset"]).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.trim().to_owned()));
    }
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

/// Plays a new connection's first packet against the rules.
pub(super) fn play(rules: &Value, packet: Packet<'_>) -> Verdict {
    let Some(objects) = rules["nftables"].as_array() else {
        return Verdict::Passes;
    };
    let firewall = Firewall { objects, packet };
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    let met = chains.filter(|chain| {
        let is =
            |field: &str, of: &[&str]| chain[field].as_str().is_some_and(|is| of.contains(&is));
        is("hook", packet.hooks) && is("family", &["ip", "inet"])
    });
    let mut perhaps = Verdict::Passes;
    for chain in met {
        let (end, may_drop) = firewall.run(chain, 0);
        let drops = match end {
            End::Drop => true,
            End::Accept => false,
            End::Next => chain["policy"] == "drop",
        };
        if drops || may_drop {
            let [family, table, name] =
                ["family", "table", "name"].map(|field| chain[field].as_str().unwrap_or_default());
            let dropped = Verdict::Dropped {
                chain: format!("{family} {table} {name}"),
                perhaps: !drops,
            };
            if drops {
                return dropped;
            }
            perhaps = dropped;
        }
    }
    perhaps
}

/// End of a chain for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    /// What comes after the chain decides.
    Next,
}

/// Rules, and a packet that meets them.
struct Firewall<'f> {
    objects: &'f [Value],
    packet: Packet<'f>,
}

impl Firewall<'_> {
    /// Plays the packet against a chain. Returns its end, and whether a rule on the path may drop it.
    fn run(&self, chain: &Value, depth: u32) -> (End, bool) {
        let same = |rule: &Value, field: &str, chain_field: &str| rule[field] == chain[chain_field];
        let rules = self.objects.iter().filter_map(|object| object.get("rule"));
        let rules = rules.filter(|rule| {
            same(rule, "family", "family")
                && same(rule, "table", "table")
                && same(rule, "chain", "name")
        });
        let mut may_drop = false;
        for rule in rules {
            let (mut applies, mut action) = (Some(true), None);
            for part in rule["expr"].as_array().into_iter().flatten() {
                let Some((kind, content)) = part.as_object().and_then(|part| part.iter().next())
                else {
                    continue;
                };
                match kind.as_str() {
                    "match" => applies = and(applies, self.matches(content, chain)),
                    "counter" | "log" | "comment" => {}
                    "accept" | "dnat" | "snat" | "masquerade" | "redirect" => {
                        action = Some((End::Accept, false));
                    }
                    "drop" | "reject" => action = Some((End::Drop, false)),
                    "return" => action = Some((End::Next, false)),
                    "jump" | "goto" => {
                        action = self.jump(chain, &content["target"], depth);
                        if kind == "jump" && action == Some((End::Next, false)) {
                            action = None;
                        }
                    }
                    // A limit, an extension of iptables, a map of verdicts.
                    _ => {
                        applies = and(applies, None);
                        may_drop |= applies.is_none() && content.to_string().contains("\"drop\"");
                    }
                }
            }
            let Some((end, inner)) = action else { continue };
            match applies {
                Some(false) => {}
                Some(true) if end == End::Next && inner => may_drop = true,
                Some(true) => return (end, may_drop || inner),
                None => may_drop |= end == End::Drop || inner,
            }
        }
        (End::Next, may_drop)
    }

    fn jump(&self, from: &Value, target: &Value, depth: u32) -> Option<(End, bool)> {
        let mut chains = self.objects.iter().filter_map(|object| object.get("chain"));
        let chain = chains.find(|chain| {
            chain["name"] == *target
                && chain["family"] == from["family"]
                && chain["table"] == from["table"]
        })?;
        (depth < DEPTH).then(|| self.run(chain, depth + 1))
    }

    /// Whether the packet is what a rule asks for; none if that is not read here.
    fn matches(&self, content: &Value, chain: &Value) -> Option<bool> {
        let (left, right) = (&content["left"], &content["right"]);
        let is = match () {
            () if left["payload"].is_object() => self.payload(&left["payload"], right, chain),
            () if left["meta"].is_object() => self.meta(left["meta"]["key"].as_str()?, right),
            () if left["ct"]["key"] == "state" => Some(texts(right).any(|state| state == "new")),
            () => None,
        };
        match content["op"].as_str()? {
            "==" | "in" => is,
            "!=" => is.map(|is| !is),
            _ => None,
        }
    }

    fn payload(&self, payload: &Value, right: &Value, chain: &Value) -> Option<bool> {
        let Packet {
            sport,
            dport,
            daddr,
            ..
        } = self.packet;
        match (payload["protocol"].as_str()?, payload["field"].as_str()?) {
            ("udp" | "th", "dport") => self.any(right, chain, |one| is_number(one, dport)),
            ("udp" | "th", "sport") => self.any(right, chain, |one| is_number(one, sport)),
            ("ip", "daddr") => {
                let daddr = daddr?;
                self.any(right, chain, |one| is_in(one, daddr))
            }
            ("tcp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "ip6", _) => Some(false),
            _ => None,
        }
    }

    fn meta(&self, key: &str, right: &Value) -> Option<bool> {
        match key {
            "l4proto" => Some(texts(right).any(|protocol| protocol == "udp")),
            "nfproto" => Some(texts(right).any(|family| family == "ipv4")),
            "iif" | "iifname" => {
                let from = self.packet.from;
                Some(texts(right).any(|name| {
                    from.is_some_and(|from| match name.strip_suffix('*') {
                        Some(start) => from.starts_with(start),
                        None => from == name,
                    })
                }))
            }
            _ => None,
        }
    }

    /// Whether a value, or one of a set, is meant.
    fn any(
        &self,
        values: &Value,
        chain: &Value,
        is: impl Fn(&Value) -> Option<bool>,
    ) -> Option<bool> {
        let named = values.as_str().and_then(|name| name.strip_prefix('@'));
        let elements = match named {
            Some(name) => {
                let mut sets = self.objects.iter().filter_map(|object| object.get("set"));
                let set = sets.find(|set| {
                    set["name"] == name
                        && set["family"] == chain["family"]
                        && set["table"] == chain["table"]
                })?;
                set["elem"].as_array().map_or(&[][..], Vec::as_slice)
            }
            None => match &values["set"] {
                Value::Array(all) => all,
                _ => slice::from_ref(values),
            },
        };
        let met: Vec<_> = elements.iter().map(is).collect();
        if met.contains(&Some(true)) {
            return Some(true);
        }
        (!met.contains(&None)).then_some(false)
    }
}

/// Whether a number is this one, or in this range; none if it is something else.
fn is_number(value: &Value, number: u16) -> Option<bool> {
    let bound = |index: usize| value["range"][index].as_u64();
    let number = u64::from(number);
    match (value.as_u64(), bound(0), bound(1)) {
        (Some(is), ..) => Some(is == number),
        (None, Some(first), Some(last)) => Some((first..=last).contains(&number)),
        _ => None,
    }
}

/// Whether an address is this one, or in this prefix; none if it is something else.
fn is_in(value: &Value, addr: Ipv4Addr) -> Option<bool> {
    let prefix = &value["prefix"];
    let network: Ipv4Addr = prefix["addr"].as_str().or(value.as_str())?.parse().ok()?;
    let length = prefix["len"].as_u64().unwrap_or(32);
    let other = 32_u32.saturating_sub(length as u32);
    let differ = u32::from(network) ^ u32::from(addr);
    Some(differ.checked_shr(other).unwrap_or(0) == 0)
}

/// Returns the texts of a value: one, a list, or a set.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().or_else(|| value["set"].as_array());
    list.into_iter()
        .flatten()
        .chain(Some(value))
        .filter_map(Value::as_str)
}

/// Both; none if one is not known, and the other is true or not known.
fn and(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Rules of a chain for what arrives, and of one that it jumps to.
    fn verdict(policy: &str, rules: &[Value]) -> &'static str {
        let chain = |name: &str, hook: Value| json!({"chain": {"family": "inet", "table": "filter", "name": name, "hook": hook, "policy": policy}});
        let rule = |chain: &str, expr: &Value| json!({"rule": {"family": "inet", "table": "filter", "chain": chain, "expr": expr}});
        let mut all = vec![
            json!({"set": {"family": "inet", "table": "filter", "name": "sip", "elem": [5060, {"range": [5080, 5090]}]}}),
            chain("input", "input".into()),
            chain("drops", Value::Null),
            rule("drops", &json!([{"drop": null}])),
        ];
        all.extend(rules.iter().map(|expr| rule("input", expr)));
        let packet = Packet {
            hooks: &["prerouting", "input"],
            from: Some("eth0"),
            sport: 49163,
            dport: 5060,
            daddr: None,
        };
        match play(&json!({"nftables": all}), packet) {
            Verdict::Passes => "passes",
            Verdict::Dropped {
                perhaps: false,
                chain,
            } if chain == "inet filter input" => "dropped",
            Verdict::Dropped { perhaps: true, .. } => "perhaps",
            other => panic!("{other:?}"),
        }
    }

    fn port(field: &str, right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": field}}, "right": right}})
    }

    #[test]
    fn a_packet_meets_the_rules() {
        let (accept, drop) = (json!({"accept": null}), json!({"drop": null}));
        let established = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
        let meta = |key: &str, right: &str| json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}});
        let from = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}});
        for (policy, rules, expected) in [
            ("accept", vec![], "passes"),
            ("drop", vec![], "dropped"),
            (
                "drop",
                vec![json!([port("dport", 5060.into()), accept])],
                "passes",
            ),
            (
                "drop",
                vec![json!([port("dport", json!({"set": [22, 5060]})), accept])],
                "passes",
            ),
            (
                "drop",
                vec![json!([
                    port("dport", json!({"range": [5000, 5100]})),
                    accept
                ])],
                "passes",
            ),
            (
                "drop",
                vec![json!([port("dport", "@sip".into()), accept])],
                "passes",
            ),
            (
                "drop",
                vec![json!([port("dport", "@other".into()), accept])],
                "dropped",
            ),
            (
                "drop",
                vec![json!([port("dport", 5061.into()), accept])],
                "dropped",
            ),
            // From the port that phones advertise only.
            (
                "drop",
                vec![json!([
                    port("sport", 5060.into()),
                    port("dport", 5060.into()),
                    accept
                ])],
                "dropped",
            ),
            ("drop", vec![json!([established, accept])], "dropped"),
            (
                "drop",
                vec![json!([meta("iifname", "lo"), accept])],
                "dropped",
            ),
            (
                "drop",
                vec![json!([meta("iifname", "eth*"), accept])],
                "passes",
            ),
            (
                "drop",
                vec![json!([meta("l4proto", "tcp"), accept])],
                "dropped",
            ),
            (
                "accept",
                vec![json!([{"counter": {"packets": 0}}, drop])],
                "dropped",
            ),
            (
                "accept",
                vec![json!([{"jump": {"target": "drops"}}])],
                "dropped",
            ),
            (
                "accept",
                vec![json!([port("dport", 22.into()), {"jump": {"target": "drops"}}])],
                "passes",
            ),
            ("accept", vec![json!([from, drop])], "perhaps"),
            ("accept", vec![json!([{"xt": null}, drop])], "perhaps"),
            (
                "accept",
                vec![json!([{"xt": null}, {"jump": {"target": "drops"}}])],
                "perhaps",
            ),
            (
                "accept",
                vec![json!([port("dport", 5060.into()), accept]), json!([drop])],
                "passes",
            ),
            ("drop", vec![json!([from, accept])], "dropped"),
        ] {
            assert_eq!(verdict(policy, &rules), expected, "{policy}: {rules:?}");
        }
    }

    #[test]
    fn what_leaves_meets_rules_of_its_destination() {
        let rules = |daddr: Value| {
            json!({"nftables": [
                {"chain": {"family": "ip", "table": "f", "name": "out", "hook": "output", "policy": "accept"}},
                {"rule": {"family": "ip", "table": "f", "chain": "out", "expr": [
                    {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": daddr}},
                    {"reject": null}
                ]}}
            ]})
        };
        let packet = Packet {
            hooks: &["output", "postrouting"],
            from: None,
            sport: 5060,
            dport: 5060,
            daddr: Some([192, 168, 1, 10].into()),
        };
        let dropped = |daddr| play(&rules(daddr), packet) != Verdict::Passes;
        assert!(dropped(
            json!({"prefix": {"addr": "192.168.0.0", "len": 16}})
        ));
        assert!(dropped(json!("192.168.1.10")));
        assert!(!dropped(json!({"prefix": {"addr": "10.0.0.0", "len": 8}})));
        let both = [("10.0.0.0", 8), ("192.168.0.0", 16)]
            .map(|(addr, len)| json!({"prefix": {"addr": addr, "len": len}}));
        assert!(dropped(json!({"set": both})));
    }
}
