//! Packets that are left alone on purpose: by the operator's policy, or because they are for another hop.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, ScriptedPbx, Terminal};

use crate::scene::{Scene, With, play};

/// Rules are changed while a call runs; the longest prefix wins.
#[test]
fn changed_during_a_call() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = phone.registers(&pbx)?;
        let call = Call::from(&phone, &pbx)?;
        let host = scene.lab.phone();
        for (rule, redirected) in [
            (&["list"][..], true),
            (&["set", "default", "off"], false),
            (&["set", "60.17.196.2", "auto"], true),
            (&["set", "60.17.0.0/16", "off"], true),
            (&["remove", "60.17.196.2"], false),
            (&["set", "60.17.196.0/24", "force"], true),
            (&["set", "60.17.196.2/32", "off"], false),
            (&["set", "60.17.196.3/32", "force"], false),
            (&["set", "192.168.0.0/16", "force"], false),
            (&["set", "60.17.196.2/32", "force"], true),
            (&["remove", "60.17.196.2/32"], true),
            (&["remove", "60.17.196.0/24"], false),
            (&["remove", "60.17.0.0/16"], false),
            (&["set", "default", "auto"], true),
        ] {
            scene.sipnat()?.command(&[&["policy"], rule].concat())?;
            let place = if redirected {
                host.public
            } else {
                host.private
            };
            let in_dialog = call.pbx_sends("UPDATE")?;
            let call = pbx.request("INVITE", &uri, &phone.aor);
            pbx.send(&call)?;
            for request in [in_dialog, call] {
                scene
                    .went_to(&request, place)
                    .with_context(|| format!("{rule:?}"))?;
            }
        }
        ensure!(scene.count("out_policy_off")? == 14, "not counted");
        Ok(())
    })
}

/// A request with a Route is for another hop, under any policy.
#[test]
fn route() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let call = Call::from(&phone, &pbx)?;
        let host = scene.lab.phone();
        for policy in ["auto", "force"] {
            scene
                .sipnat()?
                .command(&["policy", "set", "default", policy])?;
            for method in ["INVITE", "ACK", "BYE"] {
                let routed = call
                    .pbx_request(method)
                    .with("Route", "<sip:192.168.1.1;lr>");
                pbx.send(&routed)?;
                scene.went_to(&routed, host.private)?;
                scene.went_to(&call.pbx_sends(method)?, host.public)?;
            }
        }
        ensure!(scene.count("out_route")? == 6, "not counted");
        Ok(())
    })
}

/// A call through another proxy is left to that proxy, unless forced.
#[test]
fn through_a_proxy() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let second_via = ("Via", "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-behind");
        let joined_vias = (
            "Via",
            "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-1, SIP/2.0/UDP 10.0.0.8;branch=z9hG4bK-2",
        );
        let record_route = ("Record-Route", "<sip:60.17.196.2;lr>");
        for (header, redirected) in [
            (("Subject", "direct"), true),
            (second_via, false),
            (joined_vias, false),
            (record_route, false),
        ] {
            scene
                .sipnat()?
                .command(&["policy", "set", "default", "auto"])?;
            let call = incoming(&pbx, &phone, header)?;
            is_redirected(scene, &call, redirected).context(header.1)?;
            scene
                .sipnat()?
                .command(&["policy", "set", "default", "force"])?;
            is_redirected(scene, &call, true).context(header.1)?;
        }
        Ok(())
    })
}

/// A response with a Record-Route that the PBX did not write into its request comes through another proxy.
#[test]
fn answered_through_a_proxy() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = phone.registers(&pbx)?;
        let own = "<sip:203.0.113.10;lr>";
        for (routes, redirected) in [
            (&[][..], true),
            (&["<sip:60.17.196.2;lr>"], false),
            (&["<sip:60.17.196.2;lr>, <sip:203.0.113.10;lr>"], false),
            (&["<sip:203.0.113.10;lr>"], true),
        ] {
            scene
                .sipnat()?
                .command(&["policy", "set", "default", "auto"])?;
            let mut invite = pbx.request("INVITE", &uri, &phone.aor);
            if routes.iter().any(|route| route.ends_with(own)) {
                invite.push("Record-Route", own);
            }
            pbx.send(&invite)?;
            let mut invite = phone.ua.hear("INVITE")?.message;
            // The proxy adds to the header that the phone copies.
            for route in routes {
                match invite.field_mut("Record-Route") {
                    Some(field) => (*route).clone_into(field),
                    None => invite.push("Record-Route", *route),
                }
            }
            phone
                .ua
                .send(&phone.response(&invite, "200 OK", "phone"), PBX)?;
            let ok = pbx.hear("SIP/2.0 200")?.message;
            let call = Call::new(&pbx, &phone, &ok, ["From", "To"], &ok)?;
            // The contact belongs to a phone that registered directly; this dialog does not.
            is_redirected(scene, &call, redirected).with_context(|| format!("{routes:?}"))?;
            scene
                .sipnat()?
                .command(&["policy", "set", "default", "force"])?;
            is_redirected(scene, &call, true).with_context(|| format!("{routes:?}"))?;
        }
        Ok(())
    })
}

/// The phone calls, with one more header field, as a proxy adds it.
fn incoming<'a>(
    pbx: &'a ScriptedPbx,
    phone: &'a Terminal,
    (name, value): (&str, &str),
) -> Result<Call<'a>> {
    let invite = phone
        .request("INVITE", "sip:2000@203.0.113.10")
        .with(name, value);
    phone.ua.send(&invite, PBX)?;
    let invite = pbx.hear("INVITE")?;
    let ok = pbx.response(&invite, "200 OK");
    pbx.answer(&invite, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    Call::new(pbx, phone, &ok, ["To", "From"], &invite.message)
}

fn is_redirected(scene: &Scene<'_>, call: &Call<'_>, redirected: bool) -> Result<()> {
    let host = scene.lab.phone();
    let place = if redirected {
        host.public
    } else {
        host.private
    };
    scene.went_to(&call.pbx_sends("UPDATE")?, place)?;
    if redirected {
        call.terminal.ua.hear("UPDATE")?;
    }
    Ok(())
}
