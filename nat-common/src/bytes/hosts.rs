//! Hosts of URIs in a message.
//!
//! ```
//! use nat_common::bytes::hosts;
//!
//! let text = &b"PBX.example:5060;lr 1000@pbx.example> 203.0.113.10 "[..];
//! let (domain, aor, address) = (0, hosts::find(text, 20), 38);
//! assert_eq!(aor, 25);
//! assert!(hosts::same(text, domain, aor));
//! assert!(!hosts::same(text, domain, address));
//! assert!(hosts::is_v4(text, address, [203, 0, 113, 10]));
//! ```

use crate::bytes::{Source, swar};

/// Port of a `sip` URI over UDP that names none (RFC 3261 19.1.2).
pub const DEFAULT_PORT: u32 = 5060;

/// Number of words that are read: a longer host is not taken for the same.
const WORDS: u32 = 8;
/// Number of parameters that are read.
const PARAMS: u32 = 2;

/// Returns the position of the host of a URI. `uri` is the position after its scheme.
///
/// An at-sign after a `;` or `?` ends no user. Behind a user of 64 bytes or more, the position is that of the user.
#[inline(always)]
#[must_use]
pub fn find<S: Source + ?Sized>(text: &S, uri: u32) -> u32 {
    for word in 0..WORDS {
        let at = uri + word * 8;
        let w = text.word(at);
        let stop = swar::equal(w, b'@') | swar::equal(w, b';') | swar::equal(w, b'?') | after(w);
        if stop != 0 {
            let n = swar::first(stop);
            return if swar::byte(w, n) == b'@' {
                at + n + 1
            } else {
                uri
            };
        }
    }
    uri
}

/// Whether the hosts at two positions are the same, in any case (RFC 3261 19.1.4).
#[inline(always)]
#[must_use]
pub fn same<S: Source + ?Sized>(text: &S, a: u32, b: u32) -> bool {
    let colons = colons(text, a);
    for word in 0..WORDS {
        let [a, b] = [a, b].map(|at| fold(text.word(at + word * 8)));
        let [end_a, end_b] = [a, b].map(|w| {
            let ends = end(w) | swar::equal(w, b':') & colons;
            ends & ends.wrapping_neg()
        });
        let before = (end_a >> 7).wrapping_sub(1);
        if end_a != end_b || (a ^ b) & before != 0 {
            return false;
        }
        if end_a != 0 {
            return word != 0 || before != 0;
        }
    }
    false
}

/// Whether the host at a position is an IPv4 address, written without leading zeros.
#[inline(always)]
#[must_use]
pub fn is_v4<S: Source + ?Sized>(text: &S, host: u32, address: [u8; 4]) -> bool {
    let mut at = host;
    for (index, octet) in address.into_iter().enumerate() {
        let w = text.word(at);
        let (digits, value) = swar::digits(w);
        let wanted = 1 + u32::from(octet >= 10) + u32::from(octet >= 100);
        let next = w >> (wanted * 8);
        let ends = if index < 3 {
            swar::equal(next, b'.')
        } else {
            end(next) | swar::equal(next, b':')
        };
        if digits != wanted || value != u32::from(octet) || swar::first(ends) != 0 {
            return false;
        }
        at += wanted + 1;
    }
    true
}

/// Returns the position after the host at a position; 0 if it is longer than what is read, or holds a bracket that never
/// opened.
#[inline(always)]
#[must_use]
pub fn end_of<S: Source + ?Sized>(text: &S, host: u32) -> u32 {
    let colons = colons(text, host);
    for word in 0..WORDS {
        let w = fold(text.word(host + word * 8));
        let ends = end(w) | swar::equal(w, b':') & colons;
        if ends != 0 {
            let n = swar::first(ends);
            let closes = swar::byte(w, n) == b'}';
            if closes && colons != 0 {
                return 0;
            }
            // The bracket of an IPv6 address belongs to it.
            return host + word * 8 + n + u32::from(closes);
        }
    }
    0
}

/// Returns the position at which a URI ends, if nothing after its host, which ends at `at`, leads elsewhere; else 0: another
/// port than the given one, or a parameter other than `lr` and `transport=udp`. `maddr` names another host (RFC 3261 19.1.1).
#[inline(always)]
#[must_use]
pub fn plain_end<S: Source + ?Sized>(text: &S, mut at: u32, port: u32) -> u32 {
    if at == 0 {
        return 0;
    }
    let w = text.word(at);
    let mut named = DEFAULT_PORT;
    if swar::byte(w, 0) == b':' {
        let (digits, value) = swar::digits(w >> 8);
        named = if digits > 5 { 0 } else { value };
        at += 1 + digits;
    }
    if named != port {
        return 0;
    }
    for _ in 0..PARAMS {
        let w = fold(text.word(at));
        if swar::head(w, 3) == swar::literal(b";lr") {
            at += 3;
            if swar::head(w >> 24, 3) == swar::literal(b"=on") {
                at += 3;
            }
        } else if w == swar::literal(b";transpo")
            && swar::head(fold(text.word(at + 8)), 6) == swar::literal(b"rt=udp")
        {
            at += 14;
        }
    }
    if swar::first(after(text.word(at))) != 0 {
        return 0;
    }
    at
}

/// Returns a mask for colons: those of an IPv6 address do not end it.
#[inline(always)]
fn colons<S: Source + ?Sized>(text: &S, host: u32) -> u64 {
    if text.word(host) as u8 == b'[' { 0 } else { !0 }
}

/// Finds the bytes that end a host in lower case (so the closing bracket is a brace), but for the colon before a port.
#[inline(always)]
fn end(w: u64) -> u64 {
    swar::equal(w, b';') | swar::equal(w, b'?') | swar::equal(w, b'}') | after(w)
}

/// Finds the bytes that end a URI.
#[inline(always)]
fn after(w: u64) -> u64 {
    swar::below(w, 0x21) | swar::equal(w, b'>')
}

/// Makes letters lower case. Of what a host consists of, nothing else changes.
#[inline(always)]
const fn fold(w: u64) -> u64 {
    w | (w & 0x4040_4040_4040_4040) >> 1
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    /// Whether a Request-URI names the domain of a To.
    fn same_hosts(uri: &str, to: &str) -> bool {
        let text = format!("{uri} {to}>");
        let text = text.as_bytes();
        same(text, find(text, 0), find(text, uri.len() as u32 + 1))
    }

    #[test]
    fn hosts_are_compared_in_any_case_without_user_port_and_parameters() {
        for (uri, to) in [
            ("pbx", "1000@pbx"),
            ("PBX.Example", "1000@pbx.example"),
            ("pbx.example:5060", "1000@pbx.example"),
            ("pbx.example;transport=udp", "1000@pbx.example:5060"),
            ("pbx.example?x=y", "1000@pbx.example"),
            ("1000@pbx.example", "1000@pbx.example"),
            ("[2001:db8::1]", "1000@[2001:DB8::1]:5060"),
            ("[2001:db8::1]:5060", "1000@[2001:db8::1]"),
            ("twelve.b.cde", "a.user.of.more.than.two.words@twelve.b.cde"),
            ("of.sixteen.bytes", "1@of.sixteen.bytes"),
        ] {
            assert!(same_hosts(uri, to), "{uri} {to}");
        }
    }

    #[test]
    fn other_hosts_are_others() {
        let long = "a".repeat(64);
        for (uri, to) in [
            ("friend", "1000@pbx"),
            ("pbx", "1000@pbx.example"),
            ("pbx.example", "1000@pbx"),
            ("pbx.example.org", "1000@pbx.example"),
            ("friend;x=@pbx", "1000@pbx"),
            ("friend?x=@pbx", "1000@pbx"),
            ("friend:5060;x=@pbx", "1000@pbx"),
            ("pbx@friend", "1000@pbx"),
            ("[2001:db8::2]", "1000@[2001:db8::1]"),
            ("[2001:db8::1", "1000@[2001:db8::12]"),
            (";x", "1000@;x"),
            ("", ""),
            (&long, &long),
        ] {
            assert!(!same_hosts(uri, to), "{uri} {to}");
        }
    }

    #[test]
    fn a_plain_uri_leads_nowhere_else() {
        let end_at = |uri: &str, port| plain_end(uri.as_bytes(), end_of(uri.as_bytes(), 0), port);
        let end = |uri: &str| end_at(uri, 5060);
        for uri in [
            "pbx ",
            "pbx.example>",
            "pbx:5060 ",
            "pbx;lr>",
            "pbx:5060;LR;transport=UDP>",
            "pbx;Transport=udp;lr=on>",
            "[2001:db8::1] ",
            "[2001:db8::1]:5060;lr>",
            "of.sixteen.bytes>",
        ] {
            assert_eq!(end(uri), uri.len() as u32 - 1, "{uri}");
        }
        assert_eq!(end_at("pbx:5070 ", 5070), 8);
        assert_eq!(end_at("pbx ", 5070), 0);
        for uri in [
            "pbx:5070 ",
            "pbx: ",
            "pbx:5060x ",
            "pbx:005060 ",
            "pbx:50600000000 ",
            "pbx] ",
            "pbx}:5060 ",
            "pbx;lr=off>",
            "pbx;maddr=friend ",
            "pbx;lr;maddr=friend>",
            "pbx;transport=tcp>",
            "pbx;transport=udpx>",
            "pbx;lrx>",
            "pbx;lr;lr;lr>",
            "pbx?Route=friend ",
            &"a".repeat(65),
        ] {
            assert_eq!(end(uri), 0, "{uri}");
        }
    }

    #[test]
    fn an_address_is_compared_as_text() {
        let is = |uri: &str, address| is_v4(format!("{uri} ").as_bytes(), 0, address);
        for uri in ["10.0.200.1", "10.0.200.1:5060", "10.0.200.1;lr"] {
            assert!(is(uri, [10, 0, 200, 1]), "{uri}");
        }
        for uri in [
            "10.0.200.10",
            "10.0.200",
            "10.0.200.1.nip.io",
            "10.0.200.1x",
            "010.0.200.1",
            "10.00.200.1",
            "10.0.201.1",
            "1.0.200.1",
            "100.0.200.1",
            "10:0:200:1",
            "",
        ] {
            assert!(!is(uri, [10, 0, 200, 1]), "{uri}");
        }
    }
}
