//! Contacts as phones write them.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    sip::{Message, address},
};

use crate::scene::{Death, Scene, With, play, scenario};

const FORMS: [&str; 17] = [
    "<sip:1000@192.168.1.10:5060>",
    "<sip:1000@192.168.1.10>",
    "<sip:192.168.1.10:5060>",
    "<sip:line-7f3a@192.168.1.10:5060>",
    "<sip:1000:secret@192.168.1.10:5060>",
    "<sip:%231000%40home@192.168.1.10:5060>",
    "<sip:1000@192.168.1.10:5060;transport=udp>",
    "<sip:1000@192.168.1.10:5060;transport=UDP;rinstance=3a4f>;expires=60",
    "<sip:1000@192.168.1.10:5060;ob>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"",
    "<sips:1000@192.168.1.10:5060>",
    "\"Front Desk\" <sip:1000@192.168.1.10:5060>",
    "\"1st, \\\"front\\\" <sip:9@192.0.2.9>;x\" <sip:1000@192.168.1.10:5060>",
    "Front Desk <sip:1000@192.168.1.10:5060>;q=0.5",
    "sip:1000@192.168.1.10:5060",
    "sip:1000@192.168.1.10:5060;expires=60",
    "<sip:1000@192.168.1.10:5060>;q=1.0, <sip:1000@192.0.2.9:5060>;q=0.2",
    "  <sip:1000@192.168.1.10:5060>  ;  expires = 60",
];

/// Contacts, and how Asterisk 22 with pjsip writes them in its calls.
const SPELLINGS: [(&str, &str); 13] = [
    (
        "<sip:1000@192.168.1.10:5060;rinstance=ab12;transport=UDP>",
        "sip:1000@192.168.1.10:5060;transport=UDP;rinstance=ab12",
    ),
    (
        "<sip:1000@192.168.1.10:5060;transport=udp;user=phone>",
        "sip:1000@192.168.1.10:5060;user=phone;transport=udp",
    ),
    (
        "<sip:1000@192.168.1.10:5060;lr>",
        "sip:1000@192.168.1.10:5060",
    ),
    (
        "<sip:1000@192.168.1.10;lr;transport=udp>",
        "sip:1000@192.168.1.10;transport=udp",
    ),
    (
        "<sip:%2B491701234567@192.168.1.10:5060>",
        "sip:+491701234567@192.168.1.10:5060",
    ),
    (
        "<sip:#1000@192.168.1.10:5060>",
        "sip:%231000@192.168.1.10:5060",
    ),
    (
        "<sip:%31000@192.168.1.10:5060>",
        "sip:1000@192.168.1.10:5060",
    ),
    (
        "<sip:1000@192.168.1.10:5060;Transport=UDP;RInstance=AB12>",
        "sip:1000@192.168.1.10:5060;transport=UDP;RInstance=AB12",
    ),
    (
        "<sip:1000@192.168.1.10:5060;TRANSPORT=udp>",
        "sip:1000@192.168.1.10:5060;transport=udp",
    ),
    (
        "<sip:1000@192.168.1.10:5060;x-a=b;user=phone;line=xyz;transport=udp>",
        "sip:1000@192.168.1.10:5060;user=phone;transport=udp;x-a=b;line=xyz",
    ),
    (
        "<sip:1000@192.168.1.10:5060;rinstance=a%41b>",
        "sip:1000@192.168.1.10:5060;rinstance=aAb",
    ),
    (
        "<sip:1000@192.168.1.10:5060;ttl=1;method=INVITE>",
        "sip:1000@192.168.1.10:5060;ttl=1",
    ),
    (
        "<sip:1000@192.168.1.10:5060?X-A=b>",
        "sip:1000@192.168.1.10:5060",
    ),
];

#[test]
fn spelled_by_the_pbx() -> Result<()> {
    let forms = SPELLINGS.map(|(form, _)| form);
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        each(scene, &forms, |pbx, phone, _| {
            let (_, uri) = SPELLINGS
                .iter()
                .find(|(form, _)| *form == phone.contact)
                .context("a spelling")?;
            Call::to(phone, pbx, uri)?.reaches_phone("BYE")?;
            phone.ua.heard_all()
        })
    })
}

/// Contacts of one REGISTER that all last: of a gateway's two users, of two ports, of TCP before UDP.
const SEVERAL: [[&str; 2]; 4] = [
    ["sip:100@192.168.1.10:5060", "sip:101@192.168.1.10:5060"],
    ["sip:1000@192.168.1.10:5062", "sip:1000@192.168.1.10:5060"],
    [
        "sip:1000@192.168.1.10:5060;transport=tcp",
        "sip:1000@192.168.1.10:5060",
    ],
    ["sip:1000@[2001:db8::10]:5060", "sip:1000@192.168.1.10:5060"],
];

/// Each Contact of a REGISTER is called. Only the last one of each pair is tried: a single learned Contact was the first.
#[test]
fn several_in_one_register() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, several)
}

#[test]
fn several_in_one_register_without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        scene.must_fail(several, "INVITE", Death::PrivateAddress)
    })
}

fn several(scene: &Scene<'_>) -> Result<()> {
    let (pbx, mut phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    for (number, uris) in SEVERAL.iter().enumerate() {
        phone.aor = format!("sip:30{number:02}@203.0.113.10");
        phone.contact = uris.map(|uri| format!("<{uri}>")).join(", ");
        let register = phone.register().with("Expires", "60");
        phone.is_answered(&pbx, &register, 1, |request| {
            let listed = uris.map(|uri| format!("<{uri}>;expires=60"));
            pbx.response(request, "200 OK")
                .with("Contact", listed.join(", "))
        })?;
        let invite = pbx.request("INVITE", uris[1], &phone.aor);
        pbx.reaches(&phone.ua, &invite, 1)?;
    }
    Ok(())
}

#[test]
fn with_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        each(scene, &FORMS, |pbx, phone, uri| {
            Call::to(phone, pbx, uri)?.reaches_phone("BYE")?;
            Call::from(phone, pbx)?.reaches_phone("BYE")?;
            phone.ua.heard_all()
        })
    })
}

#[test]
fn without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        each(scene, &FORMS, |pbx, phone, uri| {
            let call = Call::from(phone, pbx)?;
            scene.went_to(&call.pbx_sends("BYE")?, scene.lab.phone().private)?;
            let invite = pbx.request("INVITE", uri, &phone.aor);
            pbx.send(&invite)?;
            scene.went_to(&invite, scene.lab.phone().private)
        })?;
        let sent = 2 * u64::try_from(FORMS.len())?;
        ensure!(scene.lab.dropped()?.private == sent, "some arrived");
        Ok(())
    })
}

/// A phone registers with each form, each time as another owner, so that no form uses the binding of another.
fn each(
    scene: &Scene<'_>,
    forms: &[&str],
    test: impl Fn(&ScriptedPbx, &Terminal, &str) -> Result<()>,
) -> Result<()> {
    let (pbx, mut phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    for (number, form) in forms.iter().enumerate() {
        phone.aor = format!("sip:20{number:02}@203.0.113.10");
        (*form).clone_into(&mut phone.contact);
        let uri = phone.registers(&pbx).with_context(|| (*form).to_owned())?;
        ensure!(
            address(&uri)? == scene.lab.phone().private,
            "{form} points to {uri}"
        );
        test(&pbx, &phone, &uri).with_context(|| (*form).to_owned())?;
    }
    Ok(())
}

/// The host of a Contact is a name, which the PBX resolves to some address. sipnat finds the phone by the URI, and cannot tell
/// whether that address is the phone's own: where only the URI names the phone, it leaves the request alone.
#[test]
fn host_name() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let phone = scene.terminal(0, 0, "1000")?;
        let phone = phone.with_contact("<sip:1000@phone.local>");
        let [private, public] = [scene.lab.phone().private, scene.lab.phone().public];
        let forgotten = address("sip:60.17.196.2")?;
        let uri = phone.registers(&pbx)?;
        // To an address that cannot be reached from here, and to one that may be another phone's.
        for (resolved, number) in [(private, 1), (forgotten, 2)] {
            let invite = pbx.request("INVITE", &uri, &phone.aor);
            let heard = phone
                .ua
                .hears_at("INVITE", number, || pbx.ua.send(&invite, resolved))?;
            phone.respond(&heard, "486 Busy Here", "busy")?;
            pbx.hear("SIP/2.0 486")?;
        }
        let by_uri = pbx.request("INVITE", &uri, &uri);
        for _ in 0..3 {
            pbx.ua.send(&by_uri, private)?;
        }
        scene.went_to(&by_uri, private)?;
        ensure!(
            scene.count("out_foreign_contact")? == 3,
            "it was not left alone"
        );
        // A dialog has its own address.
        let call = Call::from(&phone, &pbx)?;
        let bye = call.pbx_request("BYE");
        pbx.ua.send(&bye, private)?;
        scene.went_to(&bye, public)?;
        phone.ua.hear("BYE").map(drop)
    })
}

scenario!(compact, Plan::PLAIN_NAT, without sipnat "OPTIONS" dies Death::PrivateAddress);

/// Compact header field names, on both sides.
fn compact(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    phone.ua.send(&phone.register().compact(), PBX)?;
    let register = pbx.hear("REGISTER")?;
    let granted = format!("{};expires=60", phone.contact);
    let ok = pbx.response(&register, "200 OK").with("Contact", granted);
    pbx.answer(&register, &ok.compact())?;
    phone.ua.hear("SIP/2.0 200")?;
    let uri = register.message.contact().context("no Contact")?;
    pbx.send(&pbx.request("OPTIONS", uri, &phone.aor).compact())?;
    phone.ua.hear("OPTIONS")?;

    phone.ua.send(
        &phone.request("INVITE", "sip:2000@203.0.113.10").compact(),
        PBX,
    )?;
    let invite = pbx.hear("INVITE")?;
    let ok = pbx.response(&invite, "200 OK");
    pbx.answer(&invite, &ok.clone().compact())?;
    phone.ua.hear("SIP/2.0 200")?;
    let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &invite.message)?;
    pbx.send(&call.pbx_request("BYE").compact())?;
    let bye = phone.ua.hear("BYE")?.message;
    phone
        .ua
        .send(&phone.response(&bye, "200 OK", "").compact(), PBX)?;
    pbx.hear("SIP/2.0 200")?;
    ensure!(
        scene.binding("dialog")?["notes"][0] == "ended",
        "BYE was not understood"
    );
    Ok(())
}

/// Headers of an INVITE that RFC 3261 does not allow, or hardly, as devices write them. `OWN` is the phone's URI.
const ODD: [(&str, &str); 16] = [
    ("Expires", ""),
    ("Expires", "4294967296"),
    ("Expires", "Thu, 01 Dec 1994 16:00:00 GMT"),
    (
        "Contact",
        "<sip:1000@192.168.1.10:5060>;+sip.instance=<urn:uuid:1>",
    ),
    ("Contact", "<sip:1000@192.168.1.10:5060>;expires=\"360\""),
    ("From", "COVER, JERRY <OWN>;tag=a1"),
    ("From", "Joe (home)? <OWN>;tag=a2"),
    ("From", "Smith; Joe <OWN>;tag=a3"),
    ("From", "J\u{fc}rgen, B\u{fc}ro <OWN>;tag=a4"),
    ("From", "DOMAIN\\joe <OWN>;tag=a5"),
    ("From", "<OWN>;tag=a#$&{}6"),
    ("From", "<OWN>;tag=\"a7\""),
    ("From", "<sip:joe@home@203.0.113.10>;tag=a8"),
    ("Via", "SIP/2.0/UDP 192.168.1.10:5060;rport"),
    ("Via", "SIP/2.0/UDP 192.168.1.10:5060;branch=;rport"),
    ("Via", "SIP/2.0/UDP 192.168.1.10:5060"),
];

scenario!(odd_headers, Plan::PLAIN_NAT, without sipnat "BYE" dies Death::PrivateAddress);

/// The phone calls with such a header, and the PBX hangs up.
fn odd_headers(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    for (name, value) in ODD {
        let mut invite = phone.request("INVITE", "sip:2000@203.0.113.10");
        let value = value.replace("OWN", &phone.aor);
        match invite.field_mut(name) {
            Some(field) => field.clone_from(&value),
            None => invite.push(name, &value),
        }
        hangs_up(&pbx, &phone, &invite).with_context(|| format!("{name}: {value}"))?;
    }
    Ok(())
}

fn hangs_up(pbx: &ScriptedPbx, phone: &Terminal, invite: &Message) -> Result<()> {
    phone.ua.send(invite, PBX)?;
    let heard = pbx.hear("INVITE")?;
    let ok = pbx.response(&heard, "200 OK");
    pbx.answer(&heard, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    let call = Call::new(pbx, phone, &ok, ["To", "From"], &heard.message)?;
    pbx.reaches(&phone.ua, &call.pbx_request("BYE"), 1)?;
    Ok(())
}

scenario!(without_from_tag, Plan::PLAIN_NAT, without sipnat "BYE" dies Death::PrivateAddress);

/// A device of RFC 2543 registers and calls without a tag of its own, so that no dialog end names it. Its contact does.
fn without_from_tag(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let without_tag = |mut message: Message| {
        if let Some(from) = message.field_mut("From") {
            *from = format!("<{}>", phone.aor);
        }
        message
    };
    let register = without_tag(phone.register().with("Expires", "60"));
    phone.is_answered(&pbx, &register, 1, |request| {
        let uri = request.message.contact().unwrap_or_default();
        pbx.response(request, "200 OK")
            .with("Contact", format!("<{uri}>;expires=60"))
    })?;
    let invite = phone.request("INVITE", "sip:2000@203.0.113.10");
    hangs_up(&pbx, &phone, &without_tag(invite))
}
