//! Kamailio: keepalives of its own, its own NAT settings, and calls, in two versions.

use std::time::Duration;

use anyhow::{Result, ensure};
use nat_test_support::{
    Alg, PBX, Plan, Terminal,
    kamailio::{Kamailio, RecordRoute, Version},
    scene::{Death, SOON, Scene, With, play},
    sipp::{Scenario, Sipp},
};

/// Registrar and proxy. `MODULES` and `REGISTER` stand for what a test adds.
const CONFIG: &str = r#"
debug=2
children=2
BASE
modparam("registrar", "default_expires", 600)
MODULES

request_route {
    if (is_method("OPTIONS")) {
        sl_send_reply("200", "OK");
        exit;
    }
    t_check_trans();
    if (is_method("REGISTER")) {
        REGISTER
        save("location");
        exit;
    }
    if (!lookup("location")) {
        sl_send_reply("404", "Not Found");
        exit;
    }
    t_relay();
}
"#;

/// SIP OPTIONS to every contact, each second.
const PINGS: &str = r#"
loadmodule "kex.so"
loadmodule "nathelper.so"
modparam("nathelper", "natping_interval", 1)
modparam("nathelper", "sipping_method", "OPTIONS")
modparam("nathelper", "sipping_from", "sip:keepalive@203.0.113.10")
modparam("nathelper", "sipping_bflag", 7)
modparam("nathelper|registrar", "received_avp", "$avp(received)")
modparam("usrloc", "nat_bflag", 6)
"#;

/// Makes the tests of one version.
macro_rules! at_version {
    ($module:ident, $version:ident) => {
        mod $module {
            use super::*;

            const VERSION: Version = Version::$version;

            #[test]
            fn pings_reach_the_phone() -> Result<()> {
                play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
                    pinged(scene, VERSION)
                })
            }

            #[test]
            fn pings_do_not_reach_the_phone_without_sipnat() -> Result<()> {
                play(Plan::PLAIN_NAT, With::Nothing, |scene| {
                    let pinged = |scene: &Scene<'_>| pinged(scene, VERSION);
                    scene.must_fail(pinged, "OPTIONS", Death::PrivateAddress)
                })
            }

            #[test]
            fn own_nat_settings() -> Result<()> {
                own_settings(VERSION)
            }

            #[test]
            fn two_phones_call_each_other() -> Result<()> {
                play(SITES, With::Sipnat, |scene| calls(scene, VERSION))
            }

            #[test]
            fn two_phones_do_not_reach_each_other_without_sipnat() -> Result<()> {
                play(SITES, With::Nothing, |scene| {
                    let calls = |scene: &Scene<'_>| calls(scene, VERSION);
                    scene.must_fail(calls, "ACK", Death::Port5060)
                })
            }
        }
    };
}

at_version!(of_this_host, OfThisHost);
at_version!(of_sid, Sid);

/// Two sites whose ALG writes wrong Contacts in a dialog.
const SITES: Plan = Plan {
    sites: 2,
    alg: Alg::REGISTER_ONLY,
    ..Plan::SLIDE
};

/// Each of two phones registers, is called by the other, changes the session and hangs up.
fn calls(scene: &Scene<'_>, version: Version) -> Result<()> {
    let _kamailio = Kamailio::start_version(&scene.lab.pbx, version, RecordRoute::Yes)?;
    let [first, second] = [0, 1].map(|site| &scene.lab.sites[site].phones[0]);
    for (caller, callee) in [(first, second), (second, first)] {
        Sipp::start(callee, "2000", Scenario::Register)?.finish(SOON)?;
        let mut answering = Sipp::start(callee, "2000", Scenario::AnswerAndHangUp)?;
        let mut calling = Sipp::start(caller, "1000", Scenario::Call)?;
        // Without an ACK, the callee would wait long.
        answering.finish(Duration::from_secs(3))?;
        calling.finish(SOON)?;
        Sipp::start(callee, "2000", Scenario::Unregister)?.finish(SOON)?;
    }
    Ok(())
}

/// Kamailio sends each ping once. The first goes to the advertised address, the next to the phone, and so do those after it,
/// once the phone has answered.
fn pinged(scene: &Scene<'_>, version: Version) -> Result<()> {
    let _kamailio = start(
        scene,
        version,
        PINGS,
        "force_rport(); setbflag(6); setbflag(7);",
    )?;
    let phone = registered(scene)?;
    for _ in 0..3 {
        let options = phone.ua.hear("OPTIONS")?;
        phone.respond(&options, "200 OK", "here")?;
    }
    let phone = scene.lab.phone();
    let pings = scene.sent_by_pbx("OPTIONS");
    let places: Vec<_> = pings.iter().map(|packet| packet.destination).collect();
    ensure!(
        places[0] == phone.private && places[1..].iter().all(|place| *place == phone.public),
        "the pings went to {places:?}"
    );
    Ok(())
}

/// Kamailio's own way: it stores the source of the REGISTER with the contact.
fn own_settings(version: Version) -> Result<()> {
    for with in [With::Nothing, With::Sipnat] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let register = "force_rport(); fix_nated_register(); setbflag(6); setbflag(7);";
            let _kamailio = start(scene, version, PINGS, register)?;
            let phone = registered(scene)?;
            let options = phone.ua.hear("OPTIONS")?;
            phone.respond(&options, "200 OK", "here")?;
            if scene.sipnat.is_some() {
                let stats = scene.sipnat()?.command(&["stats"])?;
                ensure!(!stats.contains("out_redirected"), "{stats}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn start(scene: &Scene<'_>, version: Version, modules: &str, register: &str) -> Result<Kamailio> {
    let config = CONFIG
        .replace("MODULES", modules)
        .replace("REGISTER\n", &format!("{register}\n"));
    Kamailio::with_version(&scene.lab.pbx, version, &config, 32)
}

fn registered(scene: &Scene<'_>) -> Result<Terminal> {
    let phone = &scene.lab.sites[0].phones[0];
    let phone = Terminal::start(&phone.netns, phone.private, "1000", 2 * SOON)?;
    let register = phone.register().with("Expires", "600");
    phone
        .ua
        .hears_at("SIP/2.0 200", 1, || phone.ua.send(&register, PBX))?;
    Ok(phone)
}
