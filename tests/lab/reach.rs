//! Reach and weak evidence, row by row: which of two addresses the PBX's packets go to, and the evidence that `explain`
//! names for it. Without sipnat each packet goes to its original destination.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_common::abi::Ground;
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    lab::{OTHER_GATEWAY, PUBLIC_PHONE},
    sip::{Message, address, uri},
    ua::Ua,
};

use crate::scene::{OVERDUE, SOON, Scene, With, play};

use At::{Before, Learned, Original};
use Ground::{Answers, First, Forced, Moved, Occupied, Progress, Proven, Seems, Turn, Unreachable};

/// Destination of a transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The address in its Request-URI.
    Original,
    /// The learned address of the phone.
    Learned,
    /// The learned address that the phone had before.
    Before,
}

/// Makes two tests of a row: with sipnat and these arguments, and without sipnat.
macro_rules! row {
    ($name:ident, $($argument:literal),*) => {
        mod $name {
            use super::*;

            #[test]
            fn with_sipnat() -> Result<()> {
                play(PLAN, With::Arguments(&[$($argument),*]), |scene| super::$name(&mut Row::new(scene)?))
            }

            #[test]
            fn without_sipnat() -> Result<()> {
                play(PLAN, With::Nothing, |scene| super::$name(&mut Row::new(scene)?))
            }
        }
    };
}

/// No ALG: the test writes the Contacts.
const PLAN: Plan = Plan {
    phones: 2,
    ..Plan::PLAIN_NAT
};
/// The phone's public address and the port that an ALG forgot.
const FORGOTTEN: &str = "sip:1000@60.17.196.2";
/// The phone's private address.
const PRIVATE: &str = "sip:1000@192.168.1.10:5060";
/// An address-of-record for which no phone is registered.
const HOTLINE: &str = "sip:hotline@203.0.113.10";

/// A PBX and a phone.
struct Row<'a> {
    scene: &'a Scene<'a>,
    pbx: ScriptedPbx,
    phone: Terminal,
    learned: SocketAddrV4,
    before: SocketAddrV4,
}

impl<'a> Row<'a> {
    fn new(scene: &'a Scene<'a>) -> Result<Self> {
        Ok(Self {
            scene,
            pbx: scene.pbx()?,
            phone: scene.terminal(0, 0, "1000")?,
            learned: scene.lab.phone().public,
            before: scene.lab.phone().public,
        })
    }

    /// The phone registers with this Contact URI.
    fn registers(&mut self, contact: &str) -> Result<()> {
        self.phone.contact = format!("<{contact}>");
        self.phone.ua.forget()?;
        self.phone.registers(&self.pbx).map(drop)
    }

    /// Returns an OPTIONS to the phone's Contact.
    fn options(&self) -> Message {
        self.options_to(&self.phone.aor)
    }

    /// Returns one to the phone's Contact, with another To.
    fn options_to(&self, to: &str) -> Message {
        self.pbx.request("OPTIONS", uri(&self.phone.contact), to)
    }

    /// The PBX sends a request as often as there are places. Each transmission must go there, on this ground. Without
    /// sipnat each must go to its original destination.
    fn goes(&self, request: &Message, expected: &[(At, Ground)]) -> Result<()> {
        self.goes_there(request, expected)?;
        self.is_explained(request, expected)
    }

    /// The same, and the last transmission is answered. Without sipnat it has not arrived.
    fn is_answered(&self, by: &Ua, request: &Message, expected: &[(At, Ground)]) -> Result<()> {
        self.goes_there(request, expected)?;
        if self.scene.sipnat.is_none() {
            return Ok(());
        }
        // At once, or the answer does not tell which of the transmissions arrived. Earlier requests may have arrived, too.
        let heard = loop {
            let heard = by.hear(request.method())?.message;
            if heard.branch() == request.branch() {
                break heard;
            }
        };
        by.send(&self.phone.response(&heard, "200 OK", "answer"), PBX)?;
        self.pbx.hear("SIP/2.0 200")?;
        self.is_explained(request, expected)
    }

    fn goes_there(&self, request: &Message, expected: &[(At, Ground)]) -> Result<()> {
        let original = address(request.request_uri())?;
        let places = expected.iter().map(|(at, _)| match at {
            Learned if self.scene.sipnat.is_some() => self.learned,
            Before if self.scene.sipnat.is_some() => self.before,
            _ => original,
        });
        let places: Vec<_> = places.collect();
        if self.scene.sipnat.is_some() {
            // Until then the answer to the request before may be on its way, and this one would go where that went.
            thread::sleep(OVERDUE);
        }
        self.scene.transmits(&self.pbx, request, &places)
    }

    /// `explain` names the grounds.
    fn is_explained(&self, request: &Message, expected: &[(At, Ground)]) -> Result<()> {
        let Some(sipnat) = &self.scene.sipnat else {
            return Ok(());
        };
        let id = request.call_id();
        let story = sipnat.json(&["explain", id])?;
        let packets = story["packets"].as_array().context("no packets")?;
        let (cseq, method) = request.cseq();
        let of_request = packets.iter().filter(|packet| {
            packet["from"] == "pbx"
                && packet["cseq"] == cseq
                && packet["method"] == method
                && packet["status"].is_null()
        });
        let told: Vec<_> = of_request
            .clone()
            .map(|packet| packet["ground"].as_str().unwrap_or_default())
            .collect();
        let grounds: Vec<_> = expected.iter().map(|(_, ground)| ground.text()).collect();
        ensure!(told == grounds, "{told:?}, not {grounds:?}: {story:#}");
        let weak = !request.is_in_dialog() && request.field("To") != Some(&self.to_phone());
        let all_weak = of_request.clone().all(|packet| packet["weak"] == weak);
        ensure!(all_weak, "weak is not {weak}: {story:#}");

        let text = sipnat.command(&["explain", id])?;
        for (at, ground) in expected {
            // Where a packet is left alone, the verdict itself says why.
            ensure!(
                *at == Original || text.contains(ground.text()),
                "no `{}` in:\n{text}",
                ground.text()
            );
        }
        Ok(())
    }

    /// Returns To of a request that names the phone.
    fn to_phone(&self) -> String {
        format!("<{}>", self.phone.aor)
    }

    /// A user agent that is not the phone.
    fn another(&self, at: SocketAddrV4) -> Result<Ua> {
        Ua::start(&self.scene.lab.public_phone, at, SOON)
    }

    /// Waits until a request to the phone's private address goes there first, or never.
    fn until(&self, at: At) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let probe = self.options();
            (0..2).try_for_each(|_| self.pbx.send(&probe))?;
            let tried = self.scene.destinations(&probe).contains(&address(PRIVATE)?);
            if self.scene.sipnat.is_none() || tried == (at == Original) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{at:?} is not preferred");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

row!(behind_the_default_route,);

/// A private address that no route but the default leads to is not tried.
fn behind_the_default_route(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    row.goes(&row.options(), &[(Learned, Unreachable); 5])?;
    let options = row.options();
    row.is_answered(&row.phone.ua, &options, &[(Learned, Unreachable)])?;
    row.goes(&row.options(), &[(Learned, Unreachable); 5])
}

row!(routed,);

/// A route leads to the private address, comes and goes: it may be that of a host in a VPN.
fn routed(row: &mut Row<'_>) -> Result<()> {
    let route = format!("192.168.1.0/24 via {OTHER_GATEWAY}");
    row.registers(PRIVATE)?;
    row.goes(&row.options(), &[(Learned, Unreachable)])?;
    row.scene.lab.pbx.ip(&format!("route add {route}"))?;
    row.until(Original)?;
    // The phone is there again: transmissions are counted anew.
    row.registers(PRIVATE)?;
    let options = row.options();
    row.goes(
        &options,
        &[(Original, First), (Learned, Turn), (Original, First)],
    )?;
    row.scene.lab.pbx.ip(&format!("route del {route}"))?;
    row.until(Learned)?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])
}

row!(routed_and_proven,);

/// The phone has answered at its learned address, though a route leads to the private one.
fn routed_and_proven(row: &mut Row<'_>) -> Result<()> {
    let route = format!("192.168.1.0/24 via {OTHER_GATEWAY}");
    row.scene.lab.pbx.ip(&format!("route add {route}"))?;
    row.registers(PRIVATE)?;
    row.until(Original)?;
    row.registers(PRIVATE)?;
    proven_at_the_learned_address(row)
}

/// Nothing is proven. The second transmission is answered at the learned address. That could be a late answer to the first,
/// but the next one is the proof.
fn proven_at_the_learned_address(row: &mut Row<'_>) -> Result<()> {
    let options = row.options();
    row.is_answered(
        &row.phone.ua,
        &options,
        &[(Original, First), (Learned, Turn)],
    )?;
    let options = row.options();
    row.is_answered(&row.phone.ua, &options, &[(Learned, Seems)])?;
    row.goes(
        &row.options(),
        &[
            (Learned, Proven),
            (Learned, Proven),
            (Original, Turn),
            (Learned, Proven),
            (Original, Turn),
        ],
    )
}

row!(on_link,);

/// The private address is that of a host on the PBX's own link.
fn on_link(row: &mut Row<'_>) -> Result<()> {
    has_a_neighbour_with_the_phone_s_address(row.scene)?;
    row.registers(PRIVATE)?;
    row.until(Original)?;
    row.registers(PRIVATE)?;
    proven_at_the_learned_address(row)
}

row!(routed_to_the_default_gateway,);

/// The private address lies in a subnet on the PBX's own link. A route of its own to the default route's gateway takes it
/// out of that, and says no more than the default route.
fn routed_to_the_default_gateway(row: &mut Row<'_>) -> Result<()> {
    has_a_neighbour_with_the_phone_s_address(row.scene)?;
    row.registers(PRIVATE)?;
    row.until(Original)?;
    let pbx = &row.scene.lab.pbx;
    pbx.ip("route add 192.168.1.10/32 via 203.0.113.1")?;
    row.until(Learned)?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])
}

row!(in_the_phone_s_private_network,);

/// The phone is in a private network to which the default route leads, and so is the host in its Contact: that one may be
/// reached as well.
fn in_the_phone_s_private_network(row: &mut Row<'_>) -> Result<()> {
    row.learned = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 6), 5060);
    row.scene.lab.add_private_host(*row.learned.ip())?;
    row.phone = Terminal::start(
        &row.scene.lab.isp,
        row.learned,
        "1000",
        row.scene.patience(),
    )?;
    row.registers("sip:1000@10.0.0.5:5060")?;
    row.goes(
        &row.options(),
        &[(Original, First), (Learned, Turn), (Original, First)],
    )
}

row!(peer, "--peer", "192.168.1.0/24");

/// The user says that the PBX has a peer there.
fn peer(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    proven_at_the_learned_address(row)
}

row!(another_terminal_s_address,);

/// The original destination is the learned address of another terminal: that one would ring.
fn another_terminal_s_address(row: &mut Row<'_>) -> Result<()> {
    let other = row.scene.terminal(0, 1, "1001")?;
    row.scene.lab.sites[0].remap(1, address(FORGOTTEN)?)?;
    other
        .ua
        .send(&other.register().with("Expires", "60"), PBX)?;
    let register = row.pbx.hear("REGISTER")?;
    ensure!(register.source == address(FORGOTTEN)?, "not remapped");
    row.pbx.respond(&register, "200 OK")?;

    row.registers(FORGOTTEN)?;
    let options = row.options();
    row.goes(
        &options,
        &[(Learned, Occupied), (Original, Turn), (Learned, Occupied)],
    )?;
    let answered = row.options();
    row.registers(FORGOTTEN)?;
    row.is_answered(&row.phone.ua, &answered, &[(Learned, Occupied)])?;
    row.goes(
        &row.options(),
        &[(Learned, Proven), (Learned, Proven), (Original, Turn)],
    )
}

row!(another_port,);

/// Same host, another port: in turn, for as long as nothing is proven.
fn another_port(row: &mut Row<'_>) -> Result<()> {
    row.registers(FORGOTTEN)?;
    let turns = [
        (Original, First),
        (Learned, Turn),
        (Original, First),
        (Learned, Turn),
    ];
    row.goes(&row.options(), &turns)?;
    row.goes(&row.options(), &turns[..3])?;
    // The count is the phone's.
    row.goes(&row.options(), &[(Learned, Turn)])
}

row!(another_port_and_proven,);

/// Same host, another port, and the phone has answered at its learned address.
fn another_port_and_proven(row: &mut Row<'_>) -> Result<()> {
    row.registers(FORGOTTEN)?;
    proven_at_the_learned_address(row)
}

row!(another_port_that_seems_proven,);

/// Same host, another port, and an answer from the learned address that could be one to the first transmission.
fn another_port_that_seems_proven(row: &mut Row<'_>) -> Result<()> {
    row.registers(FORGOTTEN)?;
    let turns = [(Original, First), (Learned, Turn)];
    let options = row.options();
    row.is_answered(&row.phone.ua, &options, &turns)?;
    let turns = [(Learned, Seems), (Original, Turn), (Learned, Seems)];
    row.goes(&row.options(), &turns)
}

row!(another_port_that_answers,);

/// Same host, another port, and the phone has answered there.
fn another_port_that_answers(row: &mut Row<'_>) -> Result<()> {
    let forwarded = row.forwarded()?;
    let options = row.options();
    row.is_answered(&forwarded, &options, &[(Original, First)])?;
    row.goes(
        &row.options(),
        &[
            (Original, Answers),
            (Original, Answers),
            (Learned, Turn),
            (Original, Answers),
            (Learned, Turn),
        ],
    )
}

row!(another_port_that_answers_for_another_owner,);

/// Same host, another port, and somebody has answered there for another account: an answer counts for its owner only.
fn another_port_that_answers_for_another_owner(row: &mut Row<'_>) -> Result<()> {
    let forwarded = row.forwarded()?;
    let contact = row.phone.contact.replace("1000", "1001");
    let other = row.scene.terminal(0, 1, "1001")?.with_contact(contact);
    other.registers(&row.pbx)?;
    let options = row.pbx.request("OPTIONS", uri(&other.contact), &other.aor);
    row.pbx.send(&options)?;
    let heard = forwarded.hear("OPTIONS")?.message;
    forwarded.send(&other.response(&heard, "200 OK", "other"), PBX)?;
    row.pbx.hear("SIP/2.0 200")?;
    row.goes(
        &row.options(),
        &[(Original, First), (Learned, Turn), (Original, First)],
    )
}

row!(a_late_answer,);

/// Both addresses were tried, and the answer comes later than T1: it proves neither.
fn a_late_answer(row: &mut Row<'_>) -> Result<()> {
    row.registers(FORGOTTEN)?;
    let turns = [(Original, First), (Learned, Turn)];
    let options = row.options();
    row.goes_there(&options, &turns)?;
    if row.scene.sipnat.is_some() {
        let heard = row.phone.ua.hear("OPTIONS")?;
        thread::sleep(OVERDUE);
        row.phone.respond(&heard, "200 OK", "late")?;
        row.pbx.hear("SIP/2.0 200")?;
    }
    row.goes(&row.options(), &turns)
}

row!(progress,);

/// Same host, another port, in a call: the ACK proves that the phone got the PBX's answer at its learned address.
fn progress(row: &mut Row<'_>) -> Result<()> {
    row.phone.contact = format!("<{FORGOTTEN}>");
    let call = Call::from(&row.phone, &row.pbx)?;
    row.goes(
        &call.pbx_request("INVITE"),
        &[(Learned, Progress), (Original, Turn), (Learned, Progress)],
    )
}

row!(no_progress,);

/// Without the ACK nothing is proven. Any request with both tags is as good.
fn no_progress(row: &mut Row<'_>) -> Result<()> {
    row.phone.contact = format!("<{FORGOTTEN}>");
    let invite = row.phone.request("INVITE", "sip:2000@203.0.113.10");
    row.phone.ua.send(&invite, PBX)?;
    let invite = row.pbx.hear("INVITE")?;
    let ok = row.pbx.response(&invite, "200 OK");
    row.pbx.answer(&invite, &ok)?;
    row.phone.ua.hear("SIP/2.0 200")?;
    let call = Call::new(&row.pbx, &row.phone, &ok, ["To", "From"], &invite.message)?;
    row.goes(
        &call.pbx_request("INVITE"),
        &[(Original, First), (Learned, Turn), (Original, First)],
    )?;
    row.phone.ua.send(&call.phone_request("INFO"), PBX)?;
    row.pbx.hear("INFO")?;
    // What drew no answer before does not count.
    row.goes(
        &call.pbx_request("UPDATE"),
        &[(Learned, Progress), (Original, Turn)],
    )
}

row!(another_public_host,);

/// Another public host, for example an address that the phone had before: the learned one only from the second on.
fn another_public_host(row: &mut Row<'_>) -> Result<()> {
    row.registers("sip:1000@198.51.100.9:5060")?;
    proven_at_the_learned_address(row)
}

row!(another_public_host_in_a_call,);

/// The same in a call. The host that called could be a carrier's, which refuses what is for the other one: it is the learned one only
/// from the third on.
fn another_public_host_in_a_call(row: &mut Row<'_>) -> Result<()> {
    row.phone.contact = "<sip:1000@198.51.100.9:5060>".to_owned();
    let call = Call::from(&row.phone, &row.pbx)?;
    row.is_answered(
        &row.phone.ua,
        &call.pbx_request("UPDATE"),
        &[(Original, First), (Original, First), (Learned, Turn)],
    )?;
    let update = call.pbx_request("UPDATE");
    row.is_answered(&row.phone.ua, &update, &[(Learned, Seems)])?;
    row.goes(
        &call.pbx_request("BYE"),
        &[(Learned, Proven), (Learned, Proven), (Original, Turn)],
    )
}

row!(another_public_host_that_answers,);

/// Another public host, which answers.
fn another_public_host_that_answers(row: &mut Row<'_>) -> Result<()> {
    let carrier = row.another(PUBLIC_PHONE)?;
    row.registers(&format!("sip:1000@{PUBLIC_PHONE}"))?;
    let options = row.options();
    row.is_answered(&carrier, &options, &[(Original, First)])?;
    row.goes(
        &row.options(),
        &[(Original, Answers), (Original, Answers), (Learned, Turn)],
    )
}

row!(force, "--policy", "force");

/// The user knows that the learned address is right.
fn force(row: &mut Row<'_>) -> Result<()> {
    for contact in [FORGOTTEN, PRIVATE, "sip:1000@198.51.100.9:5060"] {
        row.registers(contact)?;
        row.goes(&row.options(), &[(Learned, Forced); 3])?;
    }
    Ok(())
}

row!(response,);

/// A response to a private Via is redirected at once.
fn response(row: &mut Row<'_>) -> Result<()> {
    let private = row.scene.lab.phone().private;
    let request = row.phone.request("OPTIONS", "sip:2000@203.0.113.10");
    row.phone.ua.send(&request, PBX)?;
    let ok = row.pbx.response(&row.pbx.hear("OPTIONS")?, "200 OK");
    row.pbx.ua.send(&ok, private)?;
    let helped = row.scene.sipnat.is_some();
    let place = if helped { row.learned } else { private };
    row.scene.went_to(&ok, place)
}

row!(response_to_a_repeated_request,);

/// A response goes to the port that an ALG forgot. If the phone repeats its request, the response did not arrive, and the
/// next one goes in turn. If then the PBX repeats it by itself, no ACK has come, and that goes in turn, too.
fn response_to_a_repeated_request(row: &mut Row<'_>) -> Result<()> {
    let original = address(FORGOTTEN)?;
    let request = row.phone.request("OPTIONS", "sip:2000@203.0.113.10");
    row.phone.ua.send(&request, PBX)?;
    let ok = row.pbx.response(&row.pbx.hear("OPTIONS")?, "200 OK");
    for repeats in [false, true, true] {
        if repeats {
            row.phone.ua.send(&request, PBX)?;
            row.pbx.hear("OPTIONS")?;
        }
        for _ in 0..2 {
            row.pbx.ua.send(&ok, original)?;
        }
    }
    let went = row.scene.destinations(&ok);
    let second = match row.scene.sipnat {
        Some(_) => row.learned,
        None => original,
    };
    ensure!(
        went == [original, original, second, original, second, original],
        "they went to {went:?}"
    );
    Ok(())
}

row!(by_uri,);

/// To names the Contact URI, as Asterisk writes it. The original destination comes first, until the phone has answered
/// what that did not. The proof moves with the phone.
fn by_uri(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    let turns = [
        (Original, First),
        (Learned, Turn),
        (Original, First),
        (Learned, Turn),
    ];
    row.goes(&row.options_to(PRIVATE), &turns)?;
    row.goes(&row.options_to(HOTLINE), &turns)?;
    let options = row.options_to(PRIVATE);
    row.is_answered(&row.phone.ua, &options, &turns[..2])?;
    row.goes(&row.options_to(PRIVATE), &[(Learned, Proven)])?;

    row.moves(SocketAddrV4::new(*row.learned.ip(), 51234))?;
    row.goes(&row.options_to(PRIVATE), &[(Learned, Proven)])
}

/// A request that only the Contact URI names goes nowhere else.
const FOREIGN: [(At, Ground); 3] = [(Original, Ground::None); 3];

row!(by_uri_on_link,);

fn by_uri_on_link(row: &mut Row<'_>) -> Result<()> {
    has_a_neighbour_with_the_phone_s_address(row.scene)?;
    row.registers(PRIVATE)?;
    row.until(Original)?;
    row.goes(&row.options_to(PRIVATE), &FOREIGN)
}

row!(by_uri_routed,);

fn by_uri_routed(row: &mut Row<'_>) -> Result<()> {
    let route = format!("192.168.1.0/24 via {OTHER_GATEWAY}");
    row.registers(PRIVATE)?;
    row.scene.lab.pbx.ip(&format!("route add {route}"))?;
    row.until(Original)?;
    row.goes(&row.options_to(PRIVATE), &FOREIGN)
}

row!(by_uri_of_a_peer, "--peer", "192.168.1.10");

fn by_uri_of_a_peer(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    row.goes(&row.options_to(PRIVATE), &FOREIGN)
}

row!(by_uri_of_another_public_host,);

/// A public address that is not the phone's own shows no NAT.
fn by_uri_of_another_public_host(row: &mut Row<'_>) -> Result<()> {
    let contact = "sip:1000@198.51.100.9:5060";
    row.registers(contact)?;
    row.goes(&row.options_to(contact), &FOREIGN)
}

row!(by_uri_that_answers,);

/// The original destination has answered by itself.
fn by_uri_that_answers(row: &mut Row<'_>) -> Result<()> {
    let forwarded = row.forwarded()?;
    let contact = uri(&row.phone.contact).to_owned();
    let options = row.options_to(&contact);
    row.is_answered(&forwarded, &options, &[(Original, First)])?;
    row.goes(&row.options_to(&contact), &FOREIGN)
}

row!(by_uri_of_two,);

/// Two owners claim the URI. Its user is the first one's.
fn by_uri_of_two(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    let other = row.scene.terminal(0, 1, "1001")?;
    let other = other.with_contact(format!("<{PRIVATE}>"));
    other.registers(&row.pbx)?;
    row.goes(
        &row.options_to(PRIVATE),
        &[(Original, First), (Learned, Turn)],
    )?;
    row.goes(&row.options(), &[(Learned, Unreachable)])
}

const LINE: &str = "sip:line@192.168.1.10:5060";

row!(by_uri_of_nobody_s_user_at_first,);

/// The user of the URI is not its owner's, and sipnat has just been started: the rightful owner may not have registered
/// yet.
fn by_uri_of_nobody_s_user_at_first(row: &mut Row<'_>) -> Result<()> {
    row.registers(LINE)?;
    row.goes(&row.options_to(LINE), &FOREIGN)?;
    row.goes(&row.options(), &[(Learned, Unreachable)])
}

row!(by_uri_of_nobody_s_user_later, "--settle", "0");

/// Later each owner has registered.
fn by_uri_of_nobody_s_user_later(row: &mut Row<'_>) -> Result<()> {
    row.registers(LINE)?;
    row.goes(&row.options_to(LINE), &[(Original, First), (Learned, Turn)])
}

row!(moved_to_another_host,);

/// The phone registers from another host under another Call-ID, while its registration from the one before lasts. The host
/// before comes first, until the new one has answered what that did not.
fn moved_to_another_host(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    row.is_no_proxy()?;
    row.phone.reboot();
    row.moves(SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 3), 51234))?;
    let turns = [
        (Before, Moved),
        (Learned, Turn),
        (Before, Moved),
        (Learned, Turn),
    ];
    row.goes(&row.options(), &turns)?;
    let options = row.options();
    row.is_answered(&row.phone.ua, &options, &turns[..2])?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])
}

row!(moved_under_the_same_call_id,);

/// Nobody else knows the Call-ID of its registration.
fn moved_under_the_same_call_id(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    row.moves(SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 3), 51234))?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])
}

row!(moved_to_another_port,);

/// Another port of the same host is followed at once. That is so after a reboot, too, whether the PBX may be a proxy or not.
fn moved_to_another_port(row: &mut Row<'_>) -> Result<()> {
    row.registers(PRIVATE)?;
    row.moves(SocketAddrV4::new(*row.learned.ip(), 51234))?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])?;
    row.phone.reboot();
    row.moves(SocketAddrV4::new(*row.learned.ip(), 51235))?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])?;
    row.is_no_proxy()?;
    row.phone.reboot();
    row.moves(SocketAddrV4::new(*row.learned.ip(), 51236))?;
    row.goes(&row.options(), &[(Learned, Unreachable); 3])
}

row!(two_requests_at_once,);

/// The answer to a request may be on its way: another one within T1 goes where that went.
fn two_requests_at_once(row: &mut Row<'_>) -> Result<()> {
    row.registers(FORGOTTEN)?;
    for expected in [(Original, First), (Learned, Turn), (Original, First)] {
        let first = row.options();
        row.goes_there(&first, &[expected])?;
        let second = row.options();
        row.pbx.send(&second)?;
        row.scene.went_to(&second, row.scene.destination(&first)?)?;
    }
    Ok(())
}

impl Row<'_> {
    /// The PBX sends a request with one Via. So it is no proxy, which might have relayed somebody else's 2xx.
    fn is_no_proxy(&self) -> Result<()> {
        let elsewhere = "sip:9@198.51.100.9:5060";
        let invite = self.pbx.request("INVITE", elsewhere, elsewhere);
        self.pbx.send(&invite)
    }

    /// The NAT gives the phone another mapping, and the phone registers.
    fn moves(&mut self, to: SocketAddrV4) -> Result<()> {
        self.scene.lab.sites[0].remap(0, to)?;
        self.registers(PRIVATE)?;
        (self.before, self.learned) = (self.learned, to);
        Ok(())
    }

    /// The router forwards a port to the phone, which registers with that port and listens there, too. Its learned address
    /// is another.
    fn forwarded(&mut self) -> Result<Ua> {
        const PORT: u16 = 5070;
        self.scene.lab.sites[0].forward(0, PORT)?;
        let phone = self.scene.lab.phone();
        self.registers(&format!("sip:1000@{}:{PORT}", phone.public.ip()))?;
        let listening = SocketAddrV4::new(*phone.private.ip(), PORT);
        Ua::start(&phone.netns, listening, SOON)
    }
}

/// The PBX's own link has a subnet with the phone's private addresses, and a host in it with the phone's own.
fn has_a_neighbour_with_the_phone_s_address(scene: &Scene<'_>) -> Result<()> {
    scene.lab.pbx.ip("addr add 192.168.1.5/24 dev eth0")?;
    scene.lab.neighbour.ip("addr add 192.168.1.10/24 dev eth0")
}
