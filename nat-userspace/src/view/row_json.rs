//! Rows as JSON, written by hand: for a list of a million, serde takes twice as long. A test holds both to the same text.

use std::{
    io::Write as _,
    net::{SocketAddr, SocketAddrV4},
};

use crate::view::rows::Row;

/// Writes a row as serde does.
pub(super) fn write(row: &Row, out: &mut Vec<u8>) {
    // No `..`: a new field must be written, too.
    let Row {
        id,
        key: _,
        terminal,
        uri,
        kind,
        state,
        notes,
        flags: _,
        owner: _,
        advertised,
        learned,
        age_seconds,
        seen_seconds_ago,
        stun_seen_seconds_ago,
        round_trip_microseconds,
        silent,
        moved,
        moved_to,
        expires_in_seconds,
        redirected,
    } = row;
    out.extend(b"{\"id\":");
    text(out, id);
    out.extend(b",\"terminal\":");
    optional(out, terminal.as_deref(), text);
    out.extend(b",\"uri\":");
    optional(out, uri.as_deref(), text);
    out.extend(b",\"kind\":");
    text(out, kind.name());
    out.extend(b",\"state\":");
    text(out, state.name());
    out.extend(b",\"notes\":[");
    for (number, note) in notes.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        text(out, note);
    }
    out.extend(b"],\"advertised\":");
    optional(out, *advertised, address);
    out.extend(b",\"learned\":");
    address(out, *learned);
    out.extend(b",\"age_seconds\":");
    number(out, *age_seconds);
    out.extend(b",\"seen_seconds_ago\":");
    number(out, *seen_seconds_ago);
    out.extend(b",\"stun_seen_seconds_ago\":");
    optional(out, *stun_seen_seconds_ago, number);
    out.extend(b",\"round_trip_microseconds\":");
    optional(out, *round_trip_microseconds, number);
    out.extend(b",\"silent\":");
    out.extend(silent.to_string().bytes());
    out.extend(b",\"moved\":");
    out.extend(moved.to_string().bytes());
    out.extend(b",\"moved_to\":");
    optional(out, *moved_to, address);
    out.extend(b",\"expires_in_seconds\":");
    number(out, *expires_in_seconds);
    out.extend(b",\"redirected\":");
    number(out, *redirected);
    out.push(b'}');
}

fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend(b"null"),
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend(text.bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string");
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend(itoa::Buffer::new().format(number).bytes());
}

fn address(out: &mut Vec<u8>, address: SocketAddr) {
    out.push(b'"');
    match address {
        SocketAddr::V4(address) => address_v4(out, address),
        SocketAddr::V6(address) => write!(out, "{address}").expect("memory"),
    }
    out.push(b'"');
}

fn address_v4(out: &mut Vec<u8>, address: SocketAddrV4) {
    for (place, octet) in address.ip().octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        number(out, octet.into());
    }
    out.push(b':');
    number(out, address.port().into());
}

#[cfg(test)]
mod tests {
    use nat_common::{
        abi::{Binding, BindingFlags, DialogKey},
        endpoint::Endpoint,
    };

    use super::*;
    use crate::view::rows::{
        BindingKind, BindingState, RowKey,
        tests::{NOW, binding},
    };

    #[test]
    fn it_is_what_serde_writes() {
        let row = |text, flags| {
            let binding = Binding {
                flags,
                ..binding(text)
            };
            let key = RowKey::Dialog(DialogKey {
                call: 0xabc,
                tag: u64::MAX,
            });
            Row::new(key, BindingKind::Dialog, &binding, NOW)
        };
        let plain = row("1000@60.17.196.2", BindingFlags::DIRECT);
        let v6: SocketAddr = "[2001:db8::1]:5060".parse().unwrap();
        let rows = [
            row("", BindingFlags::EARLY | BindingFlags::ENDED),
            row("a\"b\\c\u{e4}\u{1b}\u{7f}/<@x", BindingFlags::LEFT_ALONE),
            Row {
                kind: BindingKind::Contact,
                state: BindingState::Ambiguous,
                advertised: None,
                uri: Some("1000@a;x=\"".into()),
                learned: v6,
                ..plain.clone()
            },
            Row {
                state: BindingState::Pending,
                stun_seen_seconds_ago: Some(0),
                round_trip_microseconds: Some(12_345),
                silent: true,
                moved: true,
                moved_to: Some(v6),
                advertised: Some(Endpoint::v4([0, 9, 99, 255], 65535).into()),
                age_seconds: u64::MAX,
                ..plain.clone()
            },
            plain,
        ];
        for row in rows {
            let mut written = Vec::new();
            write(&row, &mut written);
            let written = String::from_utf8(written).unwrap();
            assert_eq!(written, serde_json::to_string(&row).unwrap());
        }
    }
}
