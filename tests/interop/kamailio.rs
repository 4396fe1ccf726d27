//! Kamailio: keepalives of its own, and its own NAT settings.

use anyhow::{Result, ensure};
use nat_test_support::{
    PBX, Plan, Terminal,
    kamailio::Kamailio,
    scene::{Death, SOON, Scene, With, play},
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

/// Kamailio sends each ping once. The first goes to the advertised address, the next to the phone, and so do those after it,
/// once the phone has answered.
#[test]
fn pings_reach_the_phone() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, pinged)
}

#[test]
fn pings_do_not_reach_the_phone_without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        scene.must_fail(pinged, "OPTIONS", Death::PrivateAddress)
    })
}

fn pinged(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = start(scene, PINGS, "force_rport(); setbflag(6); setbflag(7);")?;
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
#[test]
fn own_nat_settings() -> Result<()> {
    for with in [With::Nothing, With::Sipnat] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let register = "force_rport(); fix_nated_register(); setbflag(6); setbflag(7);";
            let _kamailio = start(scene, PINGS, register)?;
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

fn start(scene: &Scene<'_>, modules: &str, register: &str) -> Result<Kamailio> {
    let config = CONFIG
        .replace("MODULES", modules)
        .replace("REGISTER\n", &format!("{register}\n"));
    Kamailio::with(&scene.lab.pbx, &config, 32)
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
