//! Contacts as phones write them: whatever a PBX makes of their URI, its calls reach the phone.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Plan,
    asterisk::{Options, Release},
    capture::Packet,
    handset::Handset,
    scene::{OVERDUE, With},
};

use crate::frame::{Stage, WITHOUT_FIRST_HOUR, play, with_each_pbx};

const FORMS: [&str; 42] = [
    "<sip:1000@192.168.1.10:5060>",
    "<sip:1000@192.168.1.10>",
    // chan_pjsip moves `user` and `transport` to the front.
    "<sip:1000@192.168.1.10:5060;rinstance=ab12;transport=UDP>",
    "<sip:1000@192.168.1.10:5060;transport=udp>",
    "<sip:1000@192.168.1.10:5060;transport=udp;user=phone>",
    "<sip:1000@192.168.1.10:5060;user=phone;transport=udp>",
    "<sip:1000@192.168.1.10:5060;line=xyz;x-a=b>",
    "<sip:1000@192.168.1.10:5060;x-a=b;user=phone;line=xyz;transport=udp>",
    "<sip:1000@192.168.1.10:5060;ob>",
    "<sip:1000@192.168.1.10:5060;transport=udp;ob>",
    "<sip:1000@192.168.1.10:5060;transport=UDP;gr=urn:uuid:f81d4fae>",
    // It drops `lr`, `method` and headers.
    "<sip:1000@192.168.1.10:5060;lr>",
    "<sip:1000@192.168.1.10;lr;transport=udp>",
    "<sip:1000@192.168.1.10:5060;ttl=1;method=INVITE>",
    "<sip:1000@192.168.1.10:5060;maddr=192.168.1.10>",
    "<sip:1000@192.168.1.10:5060;maddr=192.168.1.10;lr;ttl=1;transport=udp;user=phone>",
    "<sip:1000@192.168.1.10:5060?X-A=b>",
    // It writes the names of the parameters that it knows in lower case.
    "<sip:1000@192.168.1.10:5060;Transport=UDP;RInstance=AB12>",
    "<sip:1000@192.168.1.10:5060;TRANSPORT=udp>",
    "<SIP:1000@192.168.1.10:5060>",
    // It decodes what needs no escape, and encodes what does.
    "<sip:%2B491701234567@192.168.1.10:5060>",
    "<sip:+491701234567@192.168.1.10:5060>",
    "<sip:%231000@192.168.1.10:5060>",
    "<sip:#1000@192.168.1.10:5060>",
    "<sip:*1000@192.168.1.10:5060>",
    "<sip:1000%40home@192.168.1.10:5060>",
    "<sip:%31000@192.168.1.10:5060>",
    "<sip:j%c3%b6rg@192.168.1.10:5060>",
    "<sip:1000@192.168.1.10:5060;rinstance=a%41b>",
    "<sip:a-_.!~*'()&=+$,;?/z@192.168.1.10:5060>",
    "<sip:1000:secret@192.168.1.10:5060>",
    "<sip:1000;phone-context=example.com@192.168.1.10:5060>",
    "<sip:192.168.1.10:5060>",
    "<sip:line-7f3a@192.168.1.10:5060>",
    // All PBXs leave out what is not of the URI.
    "\"Front Desk\" <sip:1000@192.168.1.10:5060>",
    "\"1st, \\\"front\\\" <sip:9@192.0.2.9>;x\" <sip:1000@192.168.1.10:5060>",
    "Front Desk <sip:1000@192.168.1.10:5060>;q=0.5",
    "sip:1000@192.168.1.10:5060",
    "sip:1000@192.168.1.10:5060;expires=60",
    "  <sip:1000@192.168.1.10:5060>  ;  expires = 60",
    "<sip:1000@192.168.1.10:5060>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\";reg-id=1",
    "<sip:1000@192.168.1.10:5060>;q=1.0, <sip:1000@192.0.2.9:5060>;q=0.2",
];

with_each_pbx!(with_sipnat);

fn with_sipnat(release: Release) -> Result<()> {
    let (options, plan) = (Options::default(), Plan::PLAIN_NAT);
    play(release, options, plan, WITHOUT_FIRST_HOUR, |stage| {
        each(stage, reached)
    })
}

with_each_pbx!(without_sipnat);

fn without_sipnat(release: Release) -> Result<()> {
    let (options, plan) = (Options::default(), Plan::PLAIN_NAT);
    play(release, options, plan, With::Nothing, not_reached)
}

/// The phone registers with each form, is called, and removes its contacts. Names all forms that fail.
fn each(stage: &Stage<'_>, test: impl Fn(&Stage<'_>, &Handset) -> Result<()>) -> Result<()> {
    let mut phone = stage.phone(0, 0, "1000")?;
    let mut failed = Vec::new();
    for form in FORMS {
        form.clone_into(&mut phone.terminal.contact);
        let ok = phone.register().context(form)?;
        let before = calls(stage).len();
        if let Err(error) = test(stage, &phone) {
            let invite = calls(stage).into_iter().nth(before);
            let uri = invite
                .and_then(|packet| packet.sip())
                .map(|invite| invite.start);
            let listed = ok.field("Contact").unwrap_or_default();
            failed.push(format!(
                "{form}, called as {uri:?}, listed as {listed}: {error:#}"
            ));
        }
        "*".clone_into(&mut phone.terminal.contact);
        phone.registers_for("0").context(form)?;
    }
    ensure!(
        failed.is_empty(),
        "{} of {} forms:\n{}",
        failed.len(),
        FORMS.len(),
        failed.join("\n")
    );
    Ok(())
}

/// The PBX calls the phone, which refuses.
fn reached(stage: &Stage<'_>, phone: &Handset) -> Result<()> {
    stage.asterisk.call("1000")?;
    let heard = phone.hear("INVITE");
    match &heard {
        Ok(invite) => {
            phone.respond(invite, "486 Busy Here", "busy")?;
            phone.hear("ACK")?;
        }
        Err(_) => stage.asterisk.hang_up()?,
    }
    heard.map(drop)
}

/// Without sipnat, no form is reached. At `chan_sip` the phone cannot even register.
fn not_reached(stage: &Stage<'_>) -> Result<()> {
    if stage.asterisk.release().is_chan_sip() {
        return stage.must_fail(|stage| stage.registered(0, 0, "1000").map(drop), "");
    }
    each(stage, |stage, phone| {
        stage.asterisk.call("1000")?;
        let heard = phone.hear_within("INVITE", OVERDUE)?;
        stage.asterisk.hang_up()?;
        ensure!(heard.is_none(), "the call arrived without sipnat");
        Ok(())
    })?;
    ensure!(
        calls(stage).len() >= FORMS.len(),
        "the PBX did not call each form"
    );
    Ok(())
}

fn calls(stage: &Stage<'_>) -> Vec<Packet> {
    stage.scene.sent_by_pbx("INVITE")
}

with_each_pbx!(host_name);

/// The host of a Contact is a name that does not resolve here. No call leaves the PBX, so there is nothing to redirect.
fn host_name(release: Release) -> Result<()> {
    let (options, plan) = (Options::default(), Plan::PLAIN_NAT);
    play(release, options, plan, WITHOUT_FIRST_HOUR, |stage| {
        let mut phone = stage.phone(0, 0, "1000")?;
        "<sip:1000@phone.invalid>".clone_into(&mut phone.terminal.contact);
        let registered = phone.register();
        // `chan_sip` resolves it at once.
        ensure!(
            registered.is_ok() != release.is_chan_sip(),
            "registered: {registered:?}"
        );
        // The call may fail at once.
        let _ = stage.asterisk.call("1000");
        ensure!(
            phone.hear_within("INVITE", OVERDUE)?.is_none(),
            "the call arrived"
        );
        ensure!(calls(stage).is_empty(), "the call left the PBX");
        Ok(())
    })
}
