//! Reference reader for forms that `rsip` refuses: names with commas, tags with odd characters, no branch, no empty line.
//!
//! It works on whole lines and values, several passes over each, and shares nothing with the scanner. Where two parsers
//! could find two identities, it finds none: so whatever the scanner reads, this reader must read alike.

use nat_common::sip::{self, Field, header};

use crate::part;

/// Parts that name identities, as text of one character for each byte.
#[derive(Debug, PartialEq)]
pub struct Plain {
    call_id: String,
    cseq: u32,
    branch: String,
    from: (String, String),
    to: (String, String),
    expires: Option<u32>,
}

/// Checks a message that the scanner reads against this reader. One that it leaves in doubt passes.
///
/// # Panics
///
/// If the two differ, or if only the scanner reads the message.
pub fn check(text: &[u8]) {
    let Ok(m) = sip::read(text) else { return };
    let field = |field| latin(part(text, m.span(field)));
    let scanned = Plain {
        call_id: field(Field::CallId),
        cseq: m.cseq,
        branch: field(Field::Branch),
        from: (field(Field::FromUri), field(Field::FromTag)),
        to: (field(Field::ToUri), field(Field::ToTag)),
        expires: (m.headers & header::EXPIRES != 0).then_some(m.expires),
    };
    let readable = String::from_utf8_lossy(text);
    assert_eq!(Some(scanned), read(text), "{readable}");
    let headers = headers(text).expect("read before");
    let contacts: Vec<_> = named(&headers, "contact", "m").collect();
    for index in 0..usize::from(m.contacts).min(sip::MAX_CONTACTS) {
        let uri = latin(part(text, m.contact(index)));
        let is_there = |value: &&String| may_be_contact(value, &uri);
        let found = m.star != 0 || contacts.iter().any(is_there);
        assert!(found, "no Contact is {uri}: {readable}");
    }
}

/// Reads a message. `None` where it is not clear what it says.
fn read(text: &[u8]) -> Option<Plain> {
    let headers = headers(text)?;
    let only = |long, short| {
        let mut all = named(&headers, long, short);
        let first = all.next()?;
        all.next().is_none().then_some(first.as_str())
    };
    let call_id = only("call-id", "i")?;
    let (cseq, _) = only("cseq", "cseq")?.split_once([' ', '\t'])?;
    let via = named(&headers, "via", "v").next()?;
    let expires = named(&headers, "expires", "expires").next();
    Some(Plain {
        call_id: word(call_id)?.to_owned(),
        cseq: cseq.parse().ok()?,
        branch: branch(via)?,
        from: party(only("from", "f")?)?,
        to: party(only("to", "t")?)?,
        expires: expires.map(|value| seconds(value)),
    })
}

/// One character for each byte, so that positions in a text and in its bytes are the same.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Returns the headers, names in lower case, with folded lines joined. `None` if a CR stands alone, or the last line is
/// not complete.
fn headers(text: &[u8]) -> Option<Vec<(String, String)>> {
    let text = latin(text);
    let text = text.trim_start_matches("\r\n");
    let mut lines = text.split_inclusive('\n').map(|line| {
        let line = line.strip_suffix('\n')?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        (!line.contains('\r')).then_some(line)
    });
    lines.next()??;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line);
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let name = name.trim_end_matches([' ', '\t']).to_ascii_lowercase();
        headers.push((name, value.to_owned()));
    }
    for (_, value) in &mut headers {
        *value = value.trim_matches([' ', '\t']).to_owned();
    }
    Some(headers)
}

/// Returns the values of a header with a long and a short name.
fn named<'h>(
    headers: &'h [(String, String)],
    long: &'h str,
    short: &'h str,
) -> impl Iterator<Item = &'h String> {
    let all = headers.iter();
    all.filter(move |(name, _)| name == long || name == short)
        .map(|(_, value)| value)
}

/// Returns a value that is a single word.
fn word(value: &str) -> Option<&str> {
    let is_word = !value.is_empty() && value.chars().all(|c| c > ' ');
    is_word.then_some(value)
}

/// Replaces quoted strings outside of angle brackets by letters. `None` if one does not end, or holds a control character.
fn without_quoted(value: &str) -> Option<String> {
    let mut masked = String::new();
    let mut in_quotes = false;
    let mut in_brackets = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if !in_brackets => in_quotes = !in_quotes,
            '\\' if in_quotes => {
                chars.next().filter(|c| *c >= ' ')?;
                masked.push('q');
            }
            c if in_quotes && c < ' ' && c != '\t' => return None,
            _ if in_quotes => {}
            '<' => in_brackets = true,
            '>' => in_brackets = false,
            _ => {}
        }
        masked.push(if in_quotes || c == '"' && !in_brackets {
            'q'
        } else {
            c
        });
    }
    (!in_quotes).then_some(masked)
}

/// Returns the values of all parameters of a name that have one. `masked` is `value` without quoted strings.
fn values<'v>(value: &'v str, masked: &str, name: &str) -> Vec<&'v str> {
    let chars: Vec<_> = value
        .char_indices()
        .map(|(at, _)| at)
        .chain([value.len()])
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    for (index, parameter) in masked.split(';').enumerate() {
        let len = parameter.chars().count();
        let raw = &value[chars[at]..chars[at + len]];
        at += len + 1;
        if let Some((key, _)) = parameter.split_once('=')
            && index > 0
            && key.trim_matches([' ', '\t']).eq_ignore_ascii_case(name)
        {
            let (_, raw) = raw.split_once('=').expect("a value");
            found.push(raw.trim_matches([' ', '\t']));
        }
    }
    found
}

/// Returns a token, with or without quotes around the whole.
fn token(value: &str) -> Option<&str> {
    let bare = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    let is_token = bare
        .chars()
        .all(|c| c.is_ascii_graphic() && !"\"(),;<>?\\^".contains(c));
    (is_token && !bare.is_empty()).then_some(value)
}

/// Returns the branch of the first Via in a value; empty if there is none.
fn branch(value: &str) -> Option<String> {
    // A quote in the transport is none.
    let transport = value.splitn(3, '/').nth(2)?.trim_start_matches([' ', '\t']);
    let (_, value) = transport.split_once([' ', '\t'])?;
    let masked = without_quoted(value)?;
    let masked = masked.split(',').next()?;
    match values(value, masked, "branch")[..] {
        [] | [""] => Some(String::new()),
        [branch] => token(branch).map(str::to_owned),
        _ => None,
    }
}

/// Returns the URI, without scheme and parameters, and the tag of From or To.
fn party(value: &str) -> Option<(String, String)> {
    let masked = without_quoted(value)?;
    // All is ASCII or one byte for a character: positions in characters.
    let value: Vec<char> = value.chars().collect();
    let chars: Vec<char> = masked.chars().collect();
    let text = |chars: &[char]| chars.iter().collect::<String>();
    if masked.chars().any(|c| c < ' ' && c != '\t') {
        return None;
    }
    let Some(open) = chars.iter().position(|c| *c == '<') else {
        // An address without brackets ends at the first semicolon (RFC 3261 20).
        let end = chars.iter().position(|c| *c == ';').unwrap_or(chars.len());
        let address = text(&value[..end]);
        let address = word(address.trim_end_matches([' ', '\t']))?;
        if address.contains(['"', '?', ',', '>']) || chars[end..].iter().any(|c| ",<>".contains(*c))
        {
            return None;
        }
        return Some((
            without_scheme(address)?,
            tag(&text(&value[end..]), &text(&chars[end..]))?,
        ));
    };
    let close = open + chars[open..].iter().position(|c| *c == '>')?;
    let before = text(&chars[..open]);
    if before.contains('>') {
        return None;
    }
    if let Some((first, _)) = before.split_once([';', ',']) {
        // Another parser could end the address there, if it is one.
        let scheme = first
            .split(':')
            .next()
            .filter(|scheme| scheme.len() < first.len());
        let is_scheme = |s: &str| {
            s.chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        if first.contains('@')
            || scheme.is_some_and(is_scheme) && scheme.is_some_and(|s| s.len() < 8)
        {
            return None;
        }
        // Another parser could look for the first tag.
        if !values(&before, &before, "tag").is_empty() {
            return None;
        }
    }
    let uri = text(&value[open + 1..close]);
    let uri = word(&uri)?;
    let (user, rest) = match uri.rsplit_once('@') {
        Some((user, rest)) => (&uri[..=user.len()], rest),
        None => ("", uri),
    };
    let host = rest.split([';', '?']).next()?;
    let uri = format!("{user}{host}");
    let after = text(&chars[close + 1..]);
    if after.contains(['<', '>', ',']) || !after.is_empty() && !after.starts_with([' ', '\t', ';'])
    {
        return None;
    }
    Some((
        without_scheme(&uri)?,
        tag(&text(&value[close + 1..]), &after)?,
    ))
}

fn without_scheme(uri: &str) -> Option<String> {
    let scheme = |scheme: &str| {
        uri.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    let uri = if scheme("sip:") {
        &uri[4..]
    } else if scheme("sips:") {
        &uri[5..]
    } else {
        uri
    };
    (!uri.is_empty()).then(|| uri.to_owned())
}

/// Returns the only tag in parameters; empty if there is none.
fn tag(value: &str, masked: &str) -> Option<String> {
    match values(value, masked, "tag")[..] {
        [] => Some(String::new()),
        [tag] => token(tag).map(str::to_owned),
        _ => None,
    }
}

/// Returns the seconds of Expires. RFC 3261 10.2.1.1 takes a malformed value for 3600.
fn seconds(value: &str) -> u32 {
    let first = value.split([' ', '\t']).next().unwrap_or_default();
    let is_number = !first.is_empty() && first.chars().all(|c| c.is_ascii_digit());
    is_number
        .then(|| first.parse().ok())
        .flatten()
        .unwrap_or(3600)
}

/// Whether a Contact header holds this URI, without its scheme: in brackets, or between separators.
fn may_be_contact(value: &str, uri: &str) -> bool {
    let is_uri =
        |text: &str| without_scheme(text.trim_matches([' ', '\t'])).as_deref() == Some(uri);
    let mut bracketed = value
        .match_indices('<')
        .filter_map(|(at, _)| value[at + 1..].split('>').next());
    let mut bare = value.split([',', ';', ' ', '\t']);
    bracketed.any(is_uri) || bare.any(is_uri)
}
