//! Torture test messages of RFC 4475, and some more: each is read as expected, or left in doubt.

use std::panic::catch_unwind;

use nat_common::bytes::{Source, Span};
use nat_common::datagram::{self, DatagramKind};
use nat_common::sip;
use nat_common::sip::{Doubt, Field, Message};
use nat_test_oracle::{part, reference};

const RFC_4475: &str = include_str!("torture/rfc4475.txt");

/// Returns the messages of RFC 4475 with their names.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let messages = RFC_4475.split("\n=== ").skip(1);
    messages
        .map(|message| {
            let (title, text) = message.split_once('\n').expect("a title");
            let (_, name) = title.split_once(' ').expect("a section and a name");
            (name, expanded(text))
        })
        .collect()
}

fn message(name: &str) -> Vec<u8> {
    let (_, text) = messages()
        .into_iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("no message {name}"));
    text
}

/// Undoes the notation of RFC 4475, section 2.
fn expanded(text: &str) -> Vec<u8> {
    let mut lines = String::new();
    let mut line_end = "\r\n";
    for line in text.trim_end().lines() {
        match line {
            "<allOneLine>" => line_end = "",
            "</allOneLine>" => {
                line_end = "\r\n";
                lines += line_end;
            }
            line => {
                lines += line;
                lines += line_end;
            }
        }
    }
    lines += "\r\n";
    let mut bytes = Vec::new();
    let mut rest = &*lines;
    while let Some(at) = rest
        .find("<hex>")
        .into_iter()
        .chain(rest.find("<repeat"))
        .min()
    {
        bytes.extend(rest[..at].bytes());
        let (tag, after) = rest[at..].split_once('>').expect("an end of the tag");
        let (content, after) = after.split_once("</").expect("an end tag");
        (_, rest) = after.split_once('>').expect("an end of the end tag");
        if let Some(count) = tag.strip_prefix("<repeat count=") {
            bytes.extend(content.repeat(count.parse().expect("a count")).bytes());
        } else {
            let hex = |i| u8::from_str_radix(&content[i..i + 2], 16).expect("hexadecimal digits");
            bytes.extend((0..content.len()).step_by(2).map(hex));
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

/// Contents of a message: a request's method or a response's status; CSeq; Request-URI; Call-ID; tags of From and To;
/// branch and number of Vias; the first Contact and the number of Contacts.
type Says<'t> = (
    &'t str,
    u32,
    &'t str,
    &'t str,
    (&'t str, &'t str),
    (&'t str, u8),
    (&'t str, u8),
);

fn says<'t>(text: &'t [u8], m: &Message) -> Says<'t> {
    let part = |span: Span| str::from_utf8(part(text, span)).expect("ASCII");
    let first = match m.status {
        0 => m.method.name(),
        100 => "100",
        200 => "200",
        status => panic!("not expected: {status}"),
    };
    (
        first,
        m.cseq,
        part(m.span(Field::RequestUri)),
        part(m.span(Field::CallId)),
        (part(m.span(Field::FromTag)), part(m.span(Field::ToTag))),
        (part(m.span(Field::Branch)), m.vias),
        (part(m.contact(0)), m.contacts),
    )
}

#[test]
#[rustfmt::skip]
fn what_is_read_is_what_is_said() {
    let long_tag = format!("12{}424", "982".repeat(50));
    let long_call = format!("longreq.one{}longcallid", "really".repeat(20));
    let long_contact = format!("{}@host5.example.net", "amazinglylongcallername".repeat(5));
    let user = "user@example.com";
    for (name, want) in [
        ("wsinv", ("INVITE", 9, "vivekg@chair-dnrc.example.com;unknownparam", "wsinv.ndaksdj@192.0.2.1", ("98asjd8", "1918181833n"), ("390skdjuw", 3), ("jdrosen@example.com", 1))),
        ("esc01", ("INVITE", 234_234, "sips%3Auser%40example.com@example.net", "esc01.239409asdfakjkn23onasd0-3234", ("938", ""), ("z9hG4bKkdjuw", 1), ("cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31", 1))),
        ("escnull", ("REGISTER", 14_398_234, "example.com", "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd", ("839923423", ""), ("z9hG4bKkdjuw", 1), ("%00@host5.example.com", 2))),
        ("esc02", ("other", 29344, "registrar.example.com", "esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf", ("f232jadfj23", ""), ("z9hG4bK209%fzsnel234", 1), ("alias1@host1.example.com", 2))),
        ("lwsdisp", ("OPTIONS", 60, user, "lwsdisp.1234abcd@funky.example.com", ("323", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        // The topmost Via has no branch. The branch of the last Via is not used instead.
        ("longreq", ("INVITE", 3_882_340, user, &long_call, (&long_tag, ""), ("", 34), (&long_contact, 1))),
        // A datagram is one message; the rest is its body.
        ("dblreq", ("REGISTER", 8, "example.com", "dblreq.0ha0isndaksdj99sdfafnl3lk233412", ("43251j3j324", ""), ("z9hG4bKkdjuw23492", 1), ("j.user@host.example.com", 1))),
        ("semiuri", ("OPTIONS", 8, "user;par=u%40example.net@example.com", "semiuri.0ha0isndaksdj", ("33242", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        ("transports", ("OPTIONS", 60, user, "transports.kijh4akdnaqjkwendsasfdj", ("323", ""), ("z9hG4bKkdjuw", 5), ("", 0))),
        ("mpart01", ("MESSAGE", 1, "kumiko@example.org", "3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..", ("2fb0dcc9", ""), ("z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-", 1), ("fluffy@127.0.0.1:5070", 1))),
        ("unreason", ("200", 35, "", "unreason.1234ksdfak3j2erwedfsASdf", ("11141343", "2229"), ("z9hG4bK1324923", 1), ("user@host198.example.com", 1))),
        ("noreason", ("100", 35, "", "noreason.asndj203insdf99223ndf", ("39ansfi3", "902jndnke3"), ("z9hG4bK2398ndaoe", 1), ("user@host105.example.com", 1))),
        // sipnat ignores Content-Length, Date, Max-Forwards and the like.
        ("clerr", ("INVITE", 8, user, "clerr.0ha0isndaksdjweiafasdk3", ("93942939o2", ""), ("z9hG4bK-39234-23523", 1), ("caller@hungry.example.net", 1))),
        ("ncl", ("INVITE", 0, user, "ncl.0ha0isndaksdj2193423r542w35", ("32394234", ""), ("z9hG4bKkdjuw", 1), ("caller@example53.example.net", 1))),
        ("escruri", ("INVITE", 149_209_342, "user@example.com?Route=%3Csip:example.com%3E", "escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5", ("341518", ""), ("z9hG4bKkdjuw", 1), ("caller@host39923.example.net", 1))),
        ("baddate", ("INVITE", 1_392_934, user, "baddate.239423mnsadf3j23lj42--sedfnm234", ("2234923", ""), ("z9hG4bKkdjuw", 1), ("caller@host5.example.net", 1))),
        ("badbranch", ("OPTIONS", 8, user, "badbranch.sadonfo23i420jv0as0derf3j3n", ("33242", ""), ("z9hG4bK", 1), ("", 0))),
        ("unkscm", ("OPTIONS", 3_923_423, "nobodyKnowsThisScheme:totallyopaquecontent", "unkscm.nasdfasser0q239nwsdfasdkl34", ("384", ""), ("z9hG4bKkdjuw39234", 1), ("", 0))),
        ("novelsc", ("OPTIONS", 3_923_423, "soap.beep://192.0.2.103:3002", "novelsc.asdfasser0q239nwsdfasdkl34", ("384", ""), ("z9hG4bKkdjuw39234", 1), ("", 0))),
        ("unksm2", ("REGISTER", 234_902, "example.com", "unksm2.daksdj@hyphenated-host.example.com", ("3234233", ""), ("z9hG4bKkdjuw", 1), ("name:John_Smith", 1))),
        ("bext01", ("OPTIONS", 8, user, "bext01.0ha0isndaksdj", ("242etr", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        ("invut", ("INVITE", 235_448, user, "invut.0ha0isndaksdjadsfij34n23d", ("8392034", ""), ("z9hG4bKkdjuw", 1), ("caller@host5.example.net", 1))),
        ("regaut01", ("REGISTER", 9338, "example.com", "regaut01.0ha0isndaksdj", ("87321hj23128", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        ("mcl01", ("OPTIONS", 15932, user, "mcl01.fhn2323orihawfdoa3o4r52o3irsdf", ("3923942", ""), ("z9hG4bK293423", 1), ("", 0))),
        ("bcast", ("200", 35, "", "bcast.0384840201234ksdfak3j2erwedfsASdf", ("11141343", "2229"), ("z9hG4bK1324923", 2), ("user@host28.example.com", 1))),
        ("zeromf", ("OPTIONS", 39_234_321, user, "zeromf.jfasdlfnm2o2l43r5u0asdfas", ("3ghsd41", ""), ("z9hG4bKkdjuw2349i", 1), ("", 0))),
        ("cparam01", ("REGISTER", 2, "example.com", "cparam01.70710@saturn.example.com", ("DkfVgjkrtMwaerKKpe", ""), ("z9hG4bKkdjuw", 1), ("+19725552222@gw1.example.net", 1))),
        ("cparam02", ("REGISTER", 3, "example.com", "cparam02.70710@saturn.example.com", ("838293", ""), ("z9hG4bKkdjuw", 1), ("+19725552222@gw1.example.net;unknownparam", 1))),
        ("regescrt", ("REGISTER", 14_398_234, "example.com", "regescrt.k345asrl3fdbv@192.0.2.1", ("8", ""), ("z9hG4bKkdjuw", 1), ("user@example.com?Route=%3Csip:sip.example.com%3E", 1))),
        ("sdp01", ("INVITE", 8, user, "sdp01.ndaksdj9342dasdd", ("234", ""), ("z9hG4bKkdjuw", 1), ("caller@host15.example.net", 1))),
        // A name with a comma, as devices write it; and a Contact that is none.
        ("baddn", ("OPTIONS", 3_923_239, "t.watson@example.org", "baddn.31415@c.example.com", ("43", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        ("regbadct", ("REGISTER", 1, "example.com", "regbadct.k345asrl3fdbv@10.0.0.1", ("998332", ""), ("z9hG4bKkdjuw", 1), ("", 0))),
        ("inv2543", ("INVITE", 56, "UserB@example.com", "inv2543.1717@ift.client.example.com", ("", ""), ("", 1), ("", 0))),
    ] {
        let text = message(name);
        let m = sip::read(&text).unwrap_or_else(|d| panic!("{name}: {d:?}"));
        assert_eq!(says(&text, &m), want, "{name}");
        assert_eq!(datagram::classify(text.len() as u32, text.word(0)), DatagramKind::Sip, "{name}");
    }
}

#[test]
fn what_is_not_read_is_in_doubt() {
    for (name, doubt) in [
        ("intmeth", Doubt::Syntax),
        ("badinv01", Doubt::Syntax),
        ("scalar02", Doubt::Syntax),
        ("scalarlg", Doubt::Syntax),
        ("quotbal", Doubt::Syntax),
        ("ltgtruri", Doubt::Syntax),
        ("lwsruri", Doubt::Syntax),
        ("lwsstart", Doubt::Syntax),
        ("trws", Doubt::Syntax),
        ("badaspec", Doubt::Syntax),
        ("badvers", Doubt::Syntax),
        ("mismatch01", Doubt::Syntax),
        ("mismatch02", Doubt::Syntax),
        ("bigcode", Doubt::Syntax),
        ("insuf", Doubt::Missing),
        ("multi01", Doubt::Duplicate),
    ] {
        assert_eq!(sip::read(&message(name)), Err(doubt), "{name}");
    }
    // A method may begin with any token character. All registered methods begin with a capital letter. This one does
    // not, so the datagram is passed before it is scanned.
    let text = message("intmeth");
    assert_eq!(
        datagram::classify(text.len() as u32, text.word(0)),
        DatagramKind::Other
    );
}

/// The two tables above cover section 3 completely, and no notation of the RFC is left in a message.
#[test]
fn all_messages_are_there() {
    let messages = messages();
    assert_eq!(messages.len(), 49);
    let read = messages.iter().filter(|(_, text)| sip::read(text).is_ok());
    assert_eq!(read.count(), 33);
    for (name, text) in &messages {
        for mark in ["<hex", "<repeat", "OneLine"] {
            let found = text.windows(mark.len()).any(|w| w == mark.as_bytes());
            assert!(!found, "{name}: {mark}");
        }
        assert!(text.ends_with(b"\r\n\r\n"), "{name}");
    }
    let text = message("intmeth");
    assert!(text.windows(5).any(|w| w == b"UL:\\\0"));
    assert!(message("trws").starts_with(b"OPTIONS sip:remote-target@example.com SIP/2.0  \r\n"));
}

/// `rsip` contradicts the scanner in no message.
#[test]
fn another_parser_agrees() {
    let mut asked = 0;
    for (name, text) in messages() {
        let ours = reference::scanned(&text);
        // rsip panics on some messages.
        let other = catch_unwind(|| reference::parsed(&text)).ok().flatten();
        if let (Some(ours), Some(other)) = (ours, other) {
            assert!(ours.agrees(&other), "{name}: {ours:?} {other:?}");
            asked += 1;
        }
    }
    assert!(asked >= 20, "only {asked} were read by both");
}

const BYE: &str = "BYE sip:a@b SIP/2.0\r\n\
    Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/UDP i;branch=z9hG4bK2\r\n\
    From: <sip:a@b>;tag=f\r\n\
    To: <sip:c@d>;tag=t\r\n\
    Call-ID: call\r\n\
    CSeq: 1 BYE\r\n\
    \r\n";

/// Checks that a text says the same as [`BYE`].
fn same_as_bye(text: &str) {
    let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{d:?}: {text}"));
    let want = (
        "BYE",
        1,
        "a@b",
        "call",
        ("f", "t"),
        ("z9hG4bK1", 2),
        ("", 0),
    );
    assert_eq!(says(text.as_bytes(), &m), want, "{text}");
}

#[test]
fn other_writings() {
    same_as_bye(BYE);
    for (plain, other) in [
        ("\r\nVia: SIP/2.0/UDP i", ",SIP/2.0/UDP i"),
        ("\r\nVia: SIP/2.0/UDP i", "\r\n , \r\n\tSIP/2.0/UDP i"),
        ("Call-ID: ", "Call-ID:\r\n \r\n\t"),
        ("call\r\n", "call\r\n \r\n"),
        ("From: <", "From: \";tag=no\" <"),
        ("From: <", "From: \"\\\";tag=no <sip:x>;tag=\\\\\" <"),
        ("<sip:a@b>", "<sip:a@b;tag=no>"),
        ("<sip:a@b>", "<sip:a@b?tag=no;tag=no>"),
        ("<sip:a@b>", "<sip:a;tag=no@b>"),
        ("<sip:a@b>", "tag=no <sip:a@b>"),
        (";tag=f", ";xtag=no;tagx=no;tag;tag=f"),
        (";tag=f", ";x=\";tag=no,<sip:x@y>;tag=no\";tag=f"),
        (";tag=f", "\r\n ;\r\n tag = f \r\n ;q"),
        ("\r\nTo: ", "\r\nX-To: <sip:x>;tag=no\r\nT\t:"),
        ("\r\nTo: ", "\r\nSubject: a\r\n To: <sip:x>;tag=no\r\nTo: "),
        ("\r\nTo: ", "\r\nSubject: \0\u{1}\u{ff}\r\nTo: "),
        ("\r\n\r\n", "\r\n\r\nCall-ID: other\r\n\r\n"),
        ("\r\n", "\n"),
    ] {
        assert!(BYE.contains(plain), "{plain}");
        same_as_bye(&BYE.replace(plain, other));
    }
}

/// Headers may come in any order. The order of Vias counts.
#[test]
fn headers_in_any_order() {
    let lines: Vec<_> = BYE.trim_end().split_inclusive("\r\n").collect();
    let (start, headers) = lines.split_first().unwrap();
    let (vias, others) = headers.split_at(2);
    for turn in 0..others.len() {
        for at in 0..=others.len() {
            let mut headers = others.to_vec();
            headers.rotate_left(turn);
            headers.insert(at, vias[1]);
            for first in 0..=at {
                let mut headers = headers.clone();
                headers.insert(first, vias[0]);
                let headers: Vec<_> = headers.iter().map(|h| h.trim_end()).collect();
                same_as_bye(&format!("{start}{}\r\n\r\n", headers.join("\r\n")));
            }
        }
    }
}

#[test]
fn missing_twice_or_broken() {
    let headers = BYE.trim_end().split("\r\n").skip(1);
    for header in headers {
        let line = format!("{header}\r\n");
        let name = header.split(':').next().unwrap();
        if name != "Via" {
            assert_eq!(
                sip::read(BYE.replace(&line, "").as_bytes()),
                Err(Doubt::Missing),
                "{header}"
            );
            let twice = BYE.replace(&line, &line.repeat(2));
            assert_eq!(
                sip::read(twice.as_bytes()),
                Err(Doubt::Duplicate),
                "{header}"
            );
        }
        let empty = BYE.replace(&line, &format!("{name}:\r\n"));
        assert_eq!(sip::read(empty.as_bytes()), Err(Doubt::Syntax), "{header}");
        // A NUL may end the message for a PBX, so none is accepted in a header that matters.
        for at in name.len()..line.len() - 2 {
            let (before, after) = line.split_at(at);
            let broken = BYE.replace(&line, &format!("{before}\0{after}"));
            sip::read(broken.as_bytes()).expect_err(&broken);
        }
    }
}

/// Long values are read up to the scanner's limit. A longer message is in doubt.
#[test]
fn long_values() {
    for len in [1000, 10_000, 16_000, 17_000, 65_536, 100_000] {
        let filler = "x".repeat(len);
        let subject = BYE.replace("From", &format!("Subject: {filler}\r\nFrom"));
        let call = BYE.replace("call", &filler);
        let tag = BYE.replace("tag=f", &format!("tag={filler}"));
        if len > 16_000 {
            for text in [subject, call, tag] {
                assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Truncated), "{len}");
            }
            continue;
        }
        same_as_bye(&subject);
        let m = sip::read(call.as_bytes()).unwrap();
        assert_eq!(says(call.as_bytes(), &m).3, filler);
        let m = sip::read(tag.as_bytes()).unwrap();
        assert_eq!(says(tag.as_bytes(), &m).4, (&*filler, "t"));
    }
    // The same header 900 times: no device writes that.
    let vias = BYE.replace(
        "Via: SIP/2.0/UDP i;branch=z9hG4bK2\r\n",
        &"v:SIP/2.0/UDP i\r\n".repeat(900),
    );
    assert_eq!(sip::read(vias.as_bytes()), Err(Doubt::Costly));
}
