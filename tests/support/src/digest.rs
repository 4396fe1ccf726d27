//! Digest authentication of a phone (RFC 2617, as RFC 3261 22.4 uses it), with MD5.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use md5::{Digest as _, Md5};

/// Number of the client. It need not be random here: the lab has no attacker who chooses the server's.
const CNONCE: &str = "0a4f113b";

/// Returns the value of Authorization for a request, in answer to the value of WWW-Authenticate.
pub fn credentials(
    challenge: &str,
    method: &str,
    uri: &str,
    [user, password]: [&str; 2],
) -> Result<String> {
    let realm = directive(challenge, "realm").context("no realm")?;
    let nonce = directive(challenge, "nonce").context("no nonce")?;
    let secret = hash(&format!("{user}:{realm}:{password}"));
    let request = hash(&format!("{method}:{uri}"));
    let mut value = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5"
    );
    let response = if directive(challenge, "qop").is_some() {
        value.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{CNONCE}\""));
        hash(&format!(
            "{secret}:{nonce}:00000001:{CNONCE}:auth:{request}"
        ))
    } else {
        hash(&format!("{secret}:{nonce}:{request}"))
    };
    value.push_str(&format!(", response=\"{response}\""));
    if let Some(opaque) = directive(challenge, "opaque") {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    Ok(value)
}

/// Returns a directive of a challenge, without its quotes.
fn directive<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let directives = challenge.trim_start().strip_prefix("Digest")?;
    directives.split(',').find_map(|directive| {
        let (key, value) = directive.split_once('=')?;
        let value = value.trim().trim_matches('"');
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

fn hash(text: &str) -> String {
    let mut digits = String::new();
    for byte in Md5::digest(text.as_bytes()) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2617 3.5.
    #[test]
    fn the_example_of_the_rfc_holds() {
        let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth\", \
                         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let value = credentials(
            challenge,
            "GET",
            "/dir/index.html",
            ["Mufasa", "Circle Of Life"],
        );
        let value = value.unwrap();
        assert!(
            value.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{value}"
        );
    }
}
