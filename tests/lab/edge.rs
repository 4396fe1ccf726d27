//! An edge proxy: Kamailio on the host of sipnat sends REGISTERs on to a registrar behind it, and relays its calls.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Alg, PBX, Plan, Terminal,
    alg::Rewrite,
    kamailio::Kamailio,
    lab::NEIGHBOUR,
    sip::{self, Message},
    ua::{Heard, Ua},
    unique::unique,
};

use crate::scene::{Death, Scene, With, play};

/// The Vias are right, so a phone gets its responses. Its Contacts are private.
const PLAN: Plan = Plan {
    alg: Alg {
        via: Rewrite::HostPort,
        ..Alg::NONE
    },
    ..Plan::SLIDE
};

/// Relays what has a Route or comes from the registrar, and sends all else to the registrar.
const CONFIG: &str = r#"
debug=2
children=2
BASE

request_route {
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    # False for a Route of an initial request that names the edge alone.
    if (loose_route() || $si == "REGISTRAR_HOST") {
        if (is_method("INVITE")) record_route();
        t_relay();
        exit;
    }
    if (is_method("OPTIONS") && uri == myself) {
        sl_send_reply("200", "OK");
        exit;
    }
    if (is_method("INVITE")) record_route();
    $du = "sip:REGISTRAR";
    t_relay();
}
"#;

/// A registrar on the PBX's own subnet, and a phone behind the edge.
struct Edge {
    registrar: Ua,
    phone: Terminal,
    _kamailio: Kamailio,
}

impl Edge {
    fn start(scene: &Scene<'_>) -> Result<Self> {
        let registrar = SocketAddrV4::new(NEIGHBOUR, 5060);
        let config = CONFIG
            .replace("REGISTRAR_HOST", &NEIGHBOUR.to_string())
            .replace("REGISTRAR", &registrar.to_string());
        Ok(Self {
            _kamailio: Kamailio::with(&scene.lab.pbx, &config, 32)?,
            registrar: Ua::start(&scene.lab.neighbour, registrar, scene.patience())?,
            phone: scene.terminal(0, 0, "1000")?,
        })
    }

    /// The phone registers, with a challenge. Returns its Contact URI, as the registrar knows it.
    fn registers(&self) -> Result<String> {
        let mut contact = None;
        for status in ["401 Unauthorized", "200 OK"] {
            self.phone
                .ua
                .send(&self.phone.register().with("Expires", "60"), PBX)?;
            let register = self.registrar.hear("REGISTER")?.message;
            ensure!(vias(&register) == 2, "not relayed: {register}");
            contact = register.contact().map(str::to_owned);
            let granted = register.field("Contact").context("no Contact")?;
            let response = response(&register, status, "registrar")
                .with("Contact", format!("{granted};expires=60"));
            self.registrar.send(&response, PBX)?;
            self.phone.ua.hear(&format!("SIP/2.0 {status}"))?;
        }
        contact.context("no Contact")
    }

    /// The registrar calls the phone through the edge, and the phone answers.
    fn calls(&self, uri: &str) -> Result<()> {
        let call_id = format!("{}@registrar", unique());
        let from = format!("<sip:2000@203.0.113.10>;tag=r{}", unique());
        let request = |method: &str, cseq: u32, uri: &str, to: &str| {
            self.registrar
                .request(method, uri, cseq)
                .with("Route", "<sip:203.0.113.10;lr>")
                .with("From", &from)
                .with("To", to)
                .with("Call-ID", &call_id)
                .with("Contact", format!("<sip:registrar@{NEIGHBOUR}:5060>"))
        };
        let to = format!("<{}>", self.phone.aor);
        self.registrar.send(&request("INVITE", 1, uri, &to), PBX)?;
        let invite = self.phone.ua.hear("INVITE")?;
        let ok = self.answers(&invite)?;
        let to = ok.field("To").context("no To")?;
        let target = ok.contact().context("no Contact")?;
        self.registrar.send(&request("ACK", 1, target, to), PBX)?;
        self.phone.ua.hear("ACK")?;
        for (cseq, method) in [(2, "INVITE"), (3, "BYE")] {
            self.registrar
                .send(&request(method, cseq, target, to), PBX)?;
            let heard = self.phone.ua.hear(method)?;
            self.answers(&heard)?;
            if method == "INVITE" {
                self.registrar
                    .send(&request("ACK", cseq, target, to), PBX)?;
                self.phone.ua.hear("ACK")?;
            }
        }
        self.phone.ua.heard_all()
    }

    /// The phone answers 200, and the registrar gets that.
    fn answers(&self, request: &Heard) -> Result<Message> {
        let ok = response(&request.message, "200 OK", "phone").with("Contact", &self.phone.contact);
        self.phone.ua.send(&ok, PBX)?;
        loop {
            let heard = self.registrar.hear("SIP/2.0")?.message;
            if heard.status() == Some(200) {
                return Ok(heard);
            }
        }
    }
}

/// Returns a response, with this tag in To if it has none.
fn response(request: &Message, status: &str, tag: &str) -> Message {
    let mut response = Message::response(request, status);
    if let Some(to) = response.field_mut("To").filter(|_| !request.is_in_dialog()) {
        to.push_str(&format!(";tag={tag}"));
    }
    response
}

fn vias(message: &Message) -> usize {
    let text = message.to_string();
    text.lines().filter(|line| line.starts_with("Via:")).count()
}

fn registers_and_is_called(scene: &Scene<'_>) -> Result<()> {
    let edge = Edge::start(scene)?;
    let uri = edge.registers()?;
    ensure!(
        sip::address(&uri)? == scene.lab.phone().private,
        "it registered {uri}"
    );
    edge.calls(&uri)
}

#[test]
fn without_sipnat() -> Result<()> {
    play(PLAN, With::Nothing, |scene| {
        scene.must_fail(registers_and_is_called, "INVITE", Death::PrivateAddress)
    })
}

/// The registrar's 2xx is not the PBX's own: anybody may be behind a proxy. `status` says so, and what to do.
#[test]
fn a_registrar_that_is_not_named_is_warned_of() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let none = scene.sipnat()?.json(&["status"])?;
        ensure!(none["warnings"] == serde_json::json!([]), "{none:#}");
        scene.must_fail(registers_and_is_called, "INVITE", Death::PrivateAddress)?;
        ensure!(scene.count("register_sent_on")? == 2, "not noticed");
        ensure!(scene.count("register_not_own")? == 1, "not noticed");
        ensure!(scene.bindings("contact")?.is_empty(), "it was believed");
        let status = scene.sipnat()?.command(&["status"])?;
        for words in [
            "sends REGISTERs on to 203.0.113.20",
            "--registrar 203.0.113.20",
        ] {
            ensure!(status.contains(words), "no `{words}` in:\n{status}");
        }
        Ok(())
    })
}

#[test]
fn a_registrar_that_is_named() -> Result<()> {
    for arguments in [
        &["--registrar", "203.0.113.20"],
        &["--registrar", "203.0.113.16/28"],
    ] {
        play(PLAN, With::Arguments(arguments), |scene| {
            registers_and_is_called(scene)?;
            ensure!(scene.count("register_sent_on")? == 0, "not believed");
            let status = scene.sipnat()?.json(&["status"])?;
            ensure!(status["warnings"] == serde_json::json!([]), "{status:#}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Another host than the named one is none.
#[test]
fn another_registrar_is_named() -> Result<()> {
    const OTHER: With = With::Arguments(&["--registrar", "203.0.113.21"]);
    play(PLAN, OTHER, |scene| {
        scene.must_fail(registers_and_is_called, "INVITE", Death::PrivateAddress)
    })
}
