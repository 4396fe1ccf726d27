//! Forms of messages that real devices and PBXs write against the grammar, or at its edge: one table for each kind. A row
//! is the smallest input, and what the scanner reads.

use nat_common::sip::{self, Doubt};

/// Message to try a form in. It has every header of which a form is tried.
const REGISTER: &str = "REGISTER sip:pbx SIP/2.0\r\n\
    Via: SIP/2.0/UDP h;branch=b\r\n\
    From: <sip:1000@pbx>;tag=f\r\n\
    To: <sip:1000@pbx>\r\n\
    Call-ID: c\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:1000@192.168.1.10>\r\n\
    Expires: 60\r\n\
    \r\n";

/// Returns [`REGISTER`] with one line written otherwise.
fn with(line: &str) -> String {
    let (name, _) = line.split_once(':').expect("a header");
    let mut found = 0;
    let lines = REGISTER.split_inclusive("\r\n").map(|old| {
        if !old.starts_with(&format!("{name}:")) {
            return old.to_owned();
        }
        found += 1;
        format!("{line}\r\n")
    });
    let text = lines.collect();
    assert_eq!(found, 1, "{name}");
    text
}

/// FreeSWITCH before 2024 begins with numbers of 32 bits, against RFC 3261 8.1.1.5.
#[test]
fn sequence_numbers() {
    for (number, want) in [
        ("2147483648", Ok(1 << 31)),
        ("4294967295", Ok(u32::MAX)),
        ("0000000001", Ok(1)),
        ("4294967296", Err(Doubt::Syntax)),
        ("9999999999", Err(Doubt::Syntax)),
        ("18446744073709551617", Err(Doubt::Syntax)),
        ("-1", Err(Doubt::Syntax)),
        ("", Err(Doubt::Syntax)),
    ] {
        let text = with(&format!("CSeq: {number} REGISTER"));
        let cseq = sip::read(text.as_bytes()).map(|m| m.cseq);
        assert_eq!(cseq, want, "{number}");
    }
}
