//! Carriers, and customers' gateways that register.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use nat_test_support::{
    PBX, Plan,
    asterisk::{Options, Release, TRUNK},
    handset::Handset,
    scene::{SOON, With},
    sip::Message,
    ua::Ua,
};

use crate::frame::{Stage, WITHOUT_FIRST_HOUR, at_each_pbx, play};

at_each_pbx!(
    gateway,
    Plan::PLAIN_NAT,
    Options::default(),
    WITHOUT_FIRST_HOUR,
    without sipnat "INVITE" dies
);

/// A gateway that has registered is called with the number as user of its Contact.
fn gateway(stage: &Stage<'_>) -> Result<()> {
    let gateway = stage.registered(0, 0, "1000")?;
    stage.asterisk.dial("90401234567")?;
    gateway.answers()?.hangs_up()
}

/// A host of the carrier from which no request comes.
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), 5060);

/// Plays a scenario at each PBX with sipnat and without: it must succeed both times.
macro_rules! unaffected {
    ($scenario:ident) => {
        mod $scenario {
            use super::*;

            fn at(release: Release) -> Result<()> {
                for with in [With::Nothing, With::Sipnat] {
                    let plan = Plan::PLAIN_NAT;
                    play(release, Options::default(), plan, with, super::$scenario)?;
                }
                Ok(())
            }

            #[test]
            fn pjsip22() -> Result<()> {
                at(Release::Pjsip22)
            }

            #[test]
            fn pjsip16() -> Result<()> {
                at(Release::Pjsip16)
            }

            #[test]
            fn chan_sip16() -> Result<()> {
                at(Release::ChanSip16)
            }
        }
    };
}

unaffected!(answered_by_another_host);

/// The carrier answers with the Contact of another host, to which the PBX sends all that follows.
fn answered_by_another_host(stage: &Stage<'_>) -> Result<()> {
    let (carrier, elsewhere) = carrier(stage)?;
    stage.asterisk.dial("0401234567")?;
    let invite = carrier.hear("INVITE")?;
    let ok = carrier
        .terminal
        .response(&invite.message, "200 OK", "carrier")
        .with_sdp(&carrier.sdp("sendrecv"));
    carrier.terminal.ua.send(&ok, PBX)?;
    elsewhere.hear("ACK")?;
    stage.asterisk.hang_up()?;
    let bye = elsewhere.hear("BYE")?;
    elsewhere.send(&Message::response(&bye.message, "200 OK"), PBX)?;
    elsewhere.heard_all()
}

unaffected!(called_for_another_host);

/// The carrier calls with the Contact of another host.
fn called_for_another_host(stage: &Stage<'_>) -> Result<()> {
    let (carrier, elsewhere) = carrier(stage)?;
    let invite = carrier.request_with("INVITE", "600", |invite| {
        invite.with_sdp(&carrier.sdp("sendrecv"))
    })?;
    let call = carrier.dialog_of(&invite.request, &invite.response)?;
    call.acknowledges()?;
    stage.asterisk.hang_up()?;
    let bye = elsewhere.hear("BYE")?;
    elsewhere.send(&Message::response(&bye.message, "200 OK"), PBX)?;
    elsewhere.heard_all()
}

/// Returns the carrier, and its other host, which is the Contact.
fn carrier(stage: &Stage<'_>) -> Result<(Handset, Ua)> {
    let lab = stage.scene.lab;
    lab.add_private_host(*ELSEWHERE.ip())?;
    let mut carrier = Handset::start(&lab.public_phone, TRUNK, "carrier", SOON)?;
    carrier.terminal.contact = format!("<sip:carrier@{ELSEWHERE}>");
    let elsewhere = Ua::start(&lab.isp, ELSEWHERE, SOON)?;
    Ok((carrier, elsewhere))
}
