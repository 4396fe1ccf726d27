//! REGISTER counts for as much as the PBX accepts.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use nat_test_support::{PBX, Plan, ScriptedPbx, Terminal, sip::Message};

use crate::scene::{Scene, With, play};

/// A REGISTER that is unanswered or refused changes nothing, with or without a binding.
#[test]
fn refused() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let refusals = [
            None,
            Some("100 Trying"),
            Some("302 Moved Temporarily"),
            Some("401 Unauthorized"),
            Some("403 Forbidden"),
            Some("423 Interval Too Brief"),
            Some("503 Service Unavailable"),
        ];
        for (known, expires) in [(false, "60"), (true, "60"), (true, "0")] {
            if known {
                register(
                    &pbx,
                    &phone,
                    phone.register(),
                    &["Contact: CONTACT;expires=600"],
                )?;
            }
            for status in refusals {
                phone
                    .ua
                    .send(&phone.register().with("Expires", expires), PBX)?;
                let request = pbx.hear("REGISTER")?;
                if let Some(status) = status {
                    pbx.respond(&request, status)?;
                    phone.ua.hear("SIP/2.0")?;
                }
                let seconds = granted(scene)?;
                let as_before = if known { 590..=600 } else { 0..=0 };
                ensure!(
                    as_before.contains(&seconds),
                    "{status:?}: {seconds} seconds"
                );
                is_called(scene, &pbx, &phone, known)?;
            }
        }
        Ok(())
    })
}

/// An accepted REGISTER lasts as long as granted: by the parameter of its own Contact, else by Expires, else an hour.
#[test]
fn granted_expiry() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        for (granting, seconds) in [
            (&["Contact: CONTACT;expires=120"][..], 120),
            (&["Contact: CONTACT;expires=120", "Expires: 600"], 120),
            (&["Expires: 600", "Contact: CONTACT"], 600),
            (&["Contact: CONTACT"], 3600),
            (&["Expires: 300"], 300),
            (&[], 3600),
            (
                &["Contact: <sip:1000@198.51.100.9>;expires=30, CONTACT;q=0.5;expires=240"],
                240,
            ),
            (
                &[
                    "Contact: <sip:1000@198.51.100.9>;expires=30",
                    "Contact: CONTACT;expires=180",
                ],
                180,
            ),
        ] {
            // The phone asks for another expiry.
            register(
                &pbx,
                &phone,
                phone.register().with("Expires", "7200"),
                granting,
            )?;
            let left = granted(scene)?;
            ensure!(
                (seconds - 5..=seconds).contains(&left),
                "{granting:?} grants {left} seconds"
            );
            is_called(scene, &pbx, &phone, true)?;
        }
        Ok(())
    })
}

/// Digest authentication: refused without credentials, accepted with them.
#[test]
fn challenged() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        phone.ua.send(&phone.register(), PBX)?;
        pbx.respond(&pbx.hear("REGISTER")?, "401 Unauthorized")?;
        phone.ua.hear("SIP/2.0 401")?;
        is_called(scene, &pbx, &phone, false)?;
        let with_password = phone
            .register()
            .with("Authorization", "Digest username=\"1000\"");
        register(
            &pbx,
            &phone,
            with_password,
            &["Contact: CONTACT;expires=60"],
        )?;
        is_called(scene, &pbx, &phone, true)
    })
}

/// Two forms of unregistering.
#[test]
fn removed() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let with_contact = |contact: &str, expires: Option<&str>| -> Message {
            let mut request = phone.register();
            if let Some(field) = request.field_mut("Contact") {
                contact.clone_into(field);
            }
            match expires {
                Some(expires) => request.with("Expires", expires),
                None => request,
            }
        };
        let zero = format!("{};expires=0", phone.contact);
        for goodbye in [
            with_contact(&phone.contact, Some("0")),
            with_contact(&zero, None),
            with_contact(&zero, Some("60")),
            with_contact("*", Some("0")),
        ] {
            register(
                &pbx,
                &phone,
                phone.register(),
                &["Contact: CONTACT;expires=60"],
            )?;
            is_called(scene, &pbx, &phone, true)?;
            // Its CSeq is lower than that of the REGISTER before it. The order of arrival counts, in ticks of the kernel's
            // coarse clock: at most 10 ms (CONFIG_HZ of 100).
            thread::sleep(Duration::from_millis(20));
            register(&pbx, &phone, goodbye, &[])?;
            is_called(scene, &pbx, &phone, false)?;
        }
        Ok(())
    })
}

/// The phone sends a REGISTER, and the PBX accepts it with these header fields.
fn register(
    pbx: &ScriptedPbx,
    phone: &Terminal,
    request: Message,
    granting: &[&str],
) -> Result<()> {
    phone.ua.send(&request, PBX)?;
    let request = pbx.hear("REGISTER")?;
    let mut response = pbx.response(&request, "200 OK");
    for field in granting {
        let (name, value) = field.split_once(": ").unwrap_or_default();
        response.push(name, value.replace("CONTACT", &phone.contact));
    }
    pbx.answer(&request, &response)?;
    phone.ua.hear("SIP/2.0 200").map(drop)
}

/// Returns the remaining time of the registration, in seconds.
fn granted(scene: &Scene<'_>) -> Result<u64> {
    let rows = scene.bindings("contact")?;
    let seconds = rows
        .iter()
        .filter_map(|row| row["expires_in_seconds"].as_u64());
    Ok(seconds.max().unwrap_or_default())
}

/// Fails unless a call reaches the phone, or unless it is left alone.
fn is_called(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    phone: &Terminal,
    registered: bool,
) -> Result<()> {
    let host = scene.lab.phone();
    let options = pbx.request("OPTIONS", "sip:1000@192.168.1.10:5060", &phone.aor);
    pbx.send(&options)?;
    if !registered {
        return scene.went_to(&options, host.private);
    }
    scene.went_to(&options, host.public)?;
    phone.ua.hear("OPTIONS").map(drop)
}
