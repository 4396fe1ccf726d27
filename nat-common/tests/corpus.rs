//! Every test run reads the fuzzer's corpus again.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use nat_common::{sdp, sip};
use nat_test_oracle::{plain, reference, usual};

/// Returns the inputs in a folder of `fuzz/`, with their paths.
fn inputs(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), fs::read(&path).expect("a file"))
        })
        .collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

#[test]
fn no_part_is_outside_of_the_message() {
    for (name, text) in inputs("corpus/scan") {
        plain::check(&text);
        usual::check(&text);
        if let Ok(message) = sip::read(&text) {
            for span in message.spans {
                let end = usize::from(span.start) + usize::from(span.len);
                assert!(end <= text.len(), "{name}");
            }
        }
    }
}

#[test]
fn no_other_parser_contradicts() {
    for folder in ["corpus/differential", "regressions/differential"] {
        for (name, text) in inputs(folder) {
            let Some(ours) = reference::scanned(&text) else {
                continue;
            };
            if let Ok(Some(other)) = catch_unwind(|| reference::parsed(&text)) {
                assert!(ours.agrees(&other), "{name}: {ours:?} {other:?}");
            }
        }
    }
}

#[test]
fn no_other_parser_finds_other_media() {
    for (name, body) in inputs("corpus/sdp") {
        let mut text = b"INVITE sip:b SIP/2.0\r\nc: application/sdp\r\n\r\n".to_vec();
        text.extend(&body);
        if let (Ok(ours), Some((lines, count))) =
            (sdp::read(&text), nat_test_oracle::sdp::parsed(&body))
        {
            let same = nat_test_oracle::sdp::agrees(&ours, &lines, count);
            assert!(same, "{name}: {ours:?} {lines:?}");
        }
    }
}
