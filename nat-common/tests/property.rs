//! Generated messages for the scanner, compared with the parser of the `rsip` crate.
//!
//! `rsip` knows neither folded lines nor white space before a colon, so it reads the plain form of a message. The
//! scanner must find the same parts in every other form that RFC 3261 allows.

use std::collections::HashMap;
use std::panic::catch_unwind;

use nat_common::abi::DialogKey;
use nat_common::bpf::HostLoop;
use nat_common::bytes::Span;
use nat_common::sip;
use nat_common::sip::{Field, MAX_CONTACTS, Message, Method};
use nat_common::tables::hash::{self, Cursor};
use nat_test_oracle::{direction, effort, part, plain, reference, usual};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn field(text: &[u8], m: &Message, field: Field) -> String {
    String::from_utf8_lossy(part(text, m.span(field))).into_owned()
}

/// Contents of a message.
#[derive(Clone, Debug)]
struct Model {
    /// 0 is a request.
    status: u16,
    method: &'static str,
    request_uri: String,
    vias: Vec<String>,
    from: Party,
    from_tag: String,
    to: Party,
    to_tag: Option<String>,
    call_id: String,
    cseq: u32,
    contacts: Vec<(Party, Option<u32>)>,
    /// Contacts that are none, and their places among the others.
    bad: Vec<(usize, &'static str)>,
    record_routes: usize,
    expires: Option<u32>,
}

/// A name-addr or addr-spec.
#[derive(Clone, Debug)]
struct Party {
    display: &'static str,
    address: String,
    parameters: &'static str,
}

impl Party {
    /// Form in a header. An address with parameters must be in brackets (RFC 3261 20).
    fn written(&self) -> String {
        if self.display.is_empty() && self.parameters.is_empty() {
            format!("sip:{}", self.address)
        } else {
            format!("{}<sip:{}{}>", self.display, self.address, self.parameters)
        }
    }
}

fn party() -> impl Strategy<Value = Party> {
    let display = select(vec![
        "",
        "Bob ",
        "\"Bob\" ",
        "\"tag=x;<sip:a@b>, \\\"q\\\"\" ",
        "The Bob ",
        "COVER, JERRY ",
        "Bob; home ",
        "Bob (home)? ",
        "J\u{fc}rgen ",
        "DOMAIN\\bob ",
    ]);
    let user = "[a-z0-9]{1,12}";
    let host = select(vec![
        "pbx",
        "192.168.1.10",
        "60.17.196.2:5060",
        "example.com:49163",
        "[2001:db8::1]:5060",
    ]);
    let parameters = select(vec!["", ";transport=udp", ";ob;lr", ";tag=no"]);
    (display, user, host, parameters).prop_map(|(display, user, host, parameters)| Party {
        display,
        address: format!("{user}@{host}"),
        parameters,
    })
}

fn model() -> impl Strategy<Value = Model> {
    let method = select(vec![
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "REGISTER",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "OPTIONS",
        "UPDATE",
        "PRACK",
    ]);
    let status = prop_oneof![Just(0_u16), 100..700_u16];
    let token = || "[A-Za-z0-9.!%*_+`'~#$&{|}-]{1,24}|\"[A-Za-z0-9#{}-]{1,24}\"";
    let bad = select(vec![
        "",
        "COVER",
        "foo;expires=9",
        "<sip:b c@d>;expires=9",
        "sip:a@[::1]:7;expires=9;x <sip:c@d>;expires=9",
        "<sip:a@1.2.3.4:7>;expires=9 <sip:c@d>",
        "sip:a@b?x=y",
    ]);
    (
        (
            status,
            method,
            "[a-z0-9]{1,8}@[a-z]{1,8}(;[a-z]{1,5}=[a-z]{1,5})?",
            vec(token(), 1..4),
        ),
        (party(), token(), party(), proptest::option::of(token())),
        (
            "[A-Za-z0-9@.-]{1,40}",
            any::<u32>(),
            vec((party(), proptest::option::of(0..100_000_u32)), 0..4),
        ),
        (
            0..3_usize,
            proptest::option::of(any::<u32>()),
            vec((0..4_usize, bad), 0..3),
        ),
    )
        .prop_map(
            |(
                (status, method, uri, vias),
                (from, from_tag, to, to_tag),
                (call_id, cseq, contacts),
                rest,
            )| Model {
                status,
                method,
                request_uri: uri,
                vias,
                from,
                from_tag,
                to,
                to_tag,
                call_id,
                cseq,
                contacts,
                bad: rest.2,
                record_routes: rest.0,
                expires: rest.1,
            },
        )
}

/// Form of a message.
#[derive(Clone, Debug)]
struct Writing {
    compact: bool,
    upper: bool,
    before_colon: &'static str,
    after_colon: &'static str,
    before_parameter: &'static str,
    around_equals: &'static str,
    joined: bool,
    filler: usize,
    turn: usize,
    /// CRLFs before the start line.
    before: &'static str,
    reason: &'static str,
    /// What follows the last header.
    after: &'static str,
}

const PLAIN: Writing = Writing {
    compact: false,
    upper: false,
    before_colon: "",
    after_colon: " ",
    before_parameter: "",
    around_equals: "",
    joined: false,
    filler: 0,
    turn: 0,
    before: "",
    reason: " Reason",
    after: "\r\nbody",
};

fn writing() -> impl Strategy<Value = Writing> {
    (
        (any::<bool>(), any::<bool>(), any::<bool>()),
        select(vec!["", " ", "\t "]),
        select(vec!["", " ", "\t", "\r\n ", " \r\n\t "]),
        select(vec!["", " ", "\r\n "]),
        select(vec!["", " "]),
        0..60_usize,
        0..20_usize,
        (
            select(vec!["", "\r\n", "\r\n\r\n\r\n"]),
            select(vec!["", " ", " OK"]),
            select(vec!["", "\r\n", "\r\nbody", "\nbody"]),
        ),
    )
        .prop_map(
            |(
                flags,
                before_colon,
                after_colon,
                before_parameter,
                around_equals,
                filler,
                turn,
                (before, reason, after),
            )| {
                Writing {
                    compact: flags.0,
                    upper: flags.1,
                    before_colon,
                    after_colon,
                    before_parameter,
                    around_equals,
                    joined: flags.2,
                    filler,
                    turn,
                    before,
                    reason,
                    after,
                }
            },
        )
}

impl Model {
    fn write(&self, w: &Writing) -> String {
        let parameter = |name: &str, value: &str| {
            let name = if w.upper {
                name.to_uppercase()
            } else {
                name.to_owned()
            };
            format!(
                "{}; {name}{}={}{value}",
                w.before_parameter, w.around_equals, w.around_equals
            )
            .replace(
                "; ",
                if w.before_parameter.is_empty() {
                    ";"
                } else {
                    "; "
                },
            )
        };
        let mut headers: Vec<(&str, &str, String)> = Vec::new();
        let list = |headers: &mut Vec<_>,
                    name: &'static str,
                    compact: &'static str,
                    values: Vec<String>| {
            if w.joined && !values.is_empty() {
                headers.push((name, compact, values.join(" , ")));
            } else {
                headers.extend(values.into_iter().map(|value| (name, compact, value)));
            }
        };
        let vias = self
            .vias
            .iter()
            .map(|b| format!("SIP/2.0/UDP host:5060;rport{}", parameter("branch", b)));
        list(&mut headers, "Via", "v", vias.collect());
        headers.push((
            "From",
            "f",
            self.from.written() + &parameter("tag", &self.from_tag),
        ));
        let to_tag = self
            .to_tag
            .as_ref()
            .map(|tag| parameter("tag", tag))
            .unwrap_or_default();
        headers.push(("To", "t", self.to.written() + &to_tag));
        headers.push(("Call-ID", "i", self.call_id.clone()));
        headers.push(("CSeq", "CSeq", format!("{} {}", self.cseq, self.method)));
        let contacts = self.contacts.iter().map(|(party, expires)| {
            let expires = expires
                .map(|e| parameter("expires", &e.to_string()))
                .unwrap_or_default();
            party.written() + &expires
        });
        let mut contacts: Vec<_> = contacts.collect();
        for (at, bad) in &self.bad {
            contacts.insert(at % (contacts.len() + 1), (*bad).to_owned());
        }
        list(&mut headers, "Contact", "m", contacts);
        let routes = (0..self.record_routes).map(|n| format!("<sip:p{n};lr>"));
        list(
            &mut headers,
            "Record-Route",
            "Record-Route",
            routes.collect(),
        );
        if let Some(expires) = self.expires {
            headers.push(("Expires", "Expires", expires.to_string()));
        }
        headers.push((
            "X-To",
            "X-To",
            format!("<sip:no>;tag=no{}", "x".repeat(w.filler)),
        ));
        // The order of Vias matters; the order of headers does not.
        if w.turn > 0 && w.joined {
            let turn = w.turn % headers.len();
            headers.rotate_left(turn);
        }
        let start = if self.status == 0 {
            format!("{} sip:{} SIP/2.0\r\n", self.method, self.request_uri)
        } else {
            format!("SIP/2.0 {}{}\r\n", self.status, w.reason)
        };
        let lines = headers.iter().map(|(name, compact, value)| {
            let name = if w.compact { compact } else { name };
            let name = if w.upper {
                name.to_uppercase()
            } else {
                (*name).to_owned()
            };
            format!("{name}{}:{}{value}\r\n", w.before_colon, w.after_colon)
        });
        let lines: String = lines.collect();
        format!("{}{start}{lines}{}", w.before, w.after)
    }

    /// Checks that the scanner finds these contents.
    fn check(&self, text: &str) -> Result<(), TestCaseError> {
        let Ok(m) = sip::read(text.as_bytes()) else {
            return Err(TestCaseError::fail(format!("in doubt: {text}")));
        };
        let part_of = |name| field(text.as_bytes(), &m, name);
        prop_assert_eq!(m.status, self.status);
        let method = match self.method {
            "INVITE" => Method::Invite,
            "ACK" => Method::Ack,
            "BYE" => Method::Bye,
            "CANCEL" => Method::Cancel,
            "REGISTER" => Method::Register,
            "SUBSCRIBE" => Method::Subscribe,
            "NOTIFY" => Method::Notify,
            "REFER" => Method::Refer,
            "OPTIONS" => Method::Options,
            "UPDATE" => Method::Update,
            "PRACK" => Method::Prack,
            _ => Method::Other,
        };
        prop_assert_eq!(m.method, method);
        prop_assert_eq!(
            part_of(Field::RequestUri),
            if self.status == 0 {
                &self.request_uri
            } else {
                ""
            }
        );
        prop_assert_eq!(part_of(Field::Branch), &*self.vias[0]);
        prop_assert_eq!(usize::from(m.vias), self.vias.len());
        prop_assert_eq!(part_of(Field::FromUri), &*self.from.address);
        prop_assert_eq!(part_of(Field::FromTag), &*self.from_tag);
        prop_assert_eq!(part_of(Field::ToUri), &*self.to.address);
        prop_assert_eq!(
            part_of(Field::ToTag),
            self.to_tag.as_deref().unwrap_or_default()
        );
        prop_assert_eq!(part_of(Field::CallId), &*self.call_id);
        prop_assert_eq!(m.cseq, self.cseq);
        prop_assert_eq!(usize::from(m.contacts), self.contacts.len());
        prop_assert_eq!(usize::from(m.record_routes), self.record_routes);
        for (i, (party, expires)) in self.contacts.iter().enumerate() {
            let uri = String::from_utf8_lossy(part(text.as_bytes(), m.contact(i))).into_owned();
            prop_assert_eq!(uri, format!("{}{}", party.address, party.parameters));
            prop_assert_eq!(m.contact_expires(i), *expires);
        }
        prop_assert_eq!(
            (m.headers & sip::header::EXPIRES != 0).then_some(m.expires),
            self.expires
        );
        Ok(())
    }
}

/// Edit of a byte: its place, a new byte, and the kind of edit.
type Edit = (u16, u8, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let byte = prop_oneof![any::<u8>(), select(b" \t\r\n:;,<>\"\\@=*?/0".to_vec())];
    vec((any::<u16>(), byte, 0..4_u8), 1..5)
}

/// Changes, removes and inserts bytes, and repeats whole lines elsewhere.
fn tampered(mut text: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for &(at, byte, what) in edits {
        let at = usize::from(at) % text.len();
        match what {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 if text.len() > 1 => _ = text.remove(at),
            _ => {
                let mut lines: Vec<_> = text.split_inclusive(|b| *b == b'\n').collect();
                let line = lines[at % lines.len()];
                lines.insert(usize::from(byte) % (lines.len() + 1), line);
                text = lines.concat();
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
    ) })]

    /// The scanner finds the contents in every form of a message.
    #[test]
    fn finds_what_is_there(model in model(), writing in writing()) {
        let text = model.write(&writing);
        model.check(&model.write(&PLAIN))?;
        // All odd forms in one message may exceed the budget.
        if effort::read(text.as_bytes(), None).0 < 110 {
            model.check(&text)?;
            direction::check(text.as_bytes(), &sip::read(text.as_bytes()).expect("no doubt"));
            plain::check(text.as_bytes());
        }
        usual::check(text.as_bytes());
    }

    /// `rsip` finds the same in the plain form.
    #[test]
    fn agrees_with_another_parser(model in model()) {
        // rsip refuses IPv6 references in an address, escaped quotes and odd characters in a display name, and ends a token
        // where the grammar does.
        let is_odd = |c: char| "\\,;?".contains(c) || !c.is_ascii();
        let plain = |party: &Party| Party {
            display: if party.display.contains(is_odd) { "\"tag=x\" " } else { party.display },
            address: party.address.replace("[2001:db8::1]", "h"),
            ..*party
        };
        let token = |token: &String| token.replace(|c| "#$&{|}\"".contains(c), "-");
        let model = Model {
            from: plain(&model.from),
            to: plain(&model.to),
            from_tag: token(&model.from_tag),
            to_tag: model.to_tag.as_ref().map(token),
            vias: model.vias.iter().map(token).collect(),
            ..model
        };
        let text = model.write(&PLAIN);
        let other = reference::parsed(text.as_bytes());
        prop_assert!(other.is_some(), "rsip refuses {}", text);
        prop_assert_eq!(reference::scanned(text.as_bytes()), other);
    }

    /// Any bytes: the scanner does not panic, it ends, and every part is inside of the message.
    #[test]
    fn bears_anything(model in model(), writing in writing(), edits in vec((any::<u16>(), any::<u8>(), 0..4_u8), 0..8)) {
        let mut text = model.write(&writing).into_bytes();
        for (at, byte, kind) in edits {
            // An edit may leave a single byte, never none.
            if text.len() < 2 {
                break;
            }
            let at = usize::from(at) % text.len();
            match kind {
                0 => text[at] = byte,
                1 => { text.remove(at); }
                2 => text.insert(at, byte),
                _ => text.truncate(at.max(1)),
            }
        }
        if let Ok(m) = sip::read(&text) {
            for span in m.spans {
                prop_assert!(usize::from(span.start) + usize::from(span.len) <= text.len());
            }
            prop_assert!(m.has(Field::CallId));
            direction::check(&text, &m);
            plain::check(&text);
        usual::check(&text);
        }
    }

    /// After edits, both parsers read the same, or one of them refuses the message.
    #[test]
    fn agrees_or_doubts(model in model(), edits in edits()) {
        let text = tampered(model.write(&PLAIN).into_bytes(), &edits);
        plain::check(&text);
        usual::check(&text);
        // rsip panics on some messages.
        if let (Some(ours), Ok(Some(other))) = (
            reference::scanned(&text),
            catch_unwind(|| reference::parsed(&text)),
        ) {
            prop_assert!(ours.agrees(&other), "{}\n{ours:?}\n{other:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn bears_noise(text in vec(any::<u8>(), 0..600)) {
        prop_assert!(sip::read(&text).ok().is_none_or(|m| m.has(Field::CallId)));
    }
}

/// Contacts beyond the limit are counted and not kept.
#[test]
fn many_contacts() {
    let contacts = "Contact: <sip:a>\r\n".repeat(MAX_CONTACTS + 3);
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=b\r\nf: <sip:a>;tag=x\r\nt: <sip:b>\r\ni: c\r\nCSeq: 1 REGISTER\r\n{contacts}\r\n"
    );
    let m = sip::read(text.as_bytes()).expect("no doubt");
    assert_eq!(usize::from(m.contacts), MAX_CONTACTS + 3);
    assert_eq!(part(text.as_bytes(), m.contact(MAX_CONTACTS - 1)), b"a");
}

/// Two pairs of Call-ID and tag never share a key, even if they are one text that is split in two places.
#[test]
fn keys_differ() {
    let secret = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    let hash = |text: &str| {
        let whole = Span {
            start: 0,
            len: text.len() as u16,
        };
        hash::span::<_, HostLoop>(text.as_bytes(), whole, &secret, &mut Cursor::default())
    };
    let mut owners = HashMap::new();
    for n in 0..100_000_u32 {
        let text = format!("{n:x}-{}@192.168.1.10", n.wrapping_mul(0x9e37_79b1));
        for cut in [1, text.len() / 2, text.len() - 1] {
            let (call, tag) = text.split_at(cut);
            let key = DialogKey {
                call: hash(call),
                tag: hash(tag),
            };
            let owner = (call.to_owned(), tag.to_owned());
            assert_eq!(owners.insert(key, owner), None);
        }
    }
    // Halves of the keys differ, too: a hash cut to 32 bits would collide in a set of this size.
    let mut halves: Vec<_> = owners.keys().map(|key| key.tag).collect();
    let tags: std::collections::HashSet<_> = owners.values().map(|(_, tag)| tag).collect();
    halves.sort_unstable();
    halves.dedup();
    assert_eq!(halves.len(), tags.len());
}
