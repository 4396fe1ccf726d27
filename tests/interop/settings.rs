//! Settings that docs/pbx.md recommends, or warns of.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Plan,
    asterisk::{Options, Release},
    scene::{Death, SOON, With},
};

use crate::frame::{Stage, play, with_each_pbx};

with_each_pbx!(own_nat_settings);

/// The PBX's own NAT settings serve as well. sipnat then finds nothing to redirect.
fn own_nat_settings(release: Release) -> Result<()> {
    let options = Options {
        phones: if release.is_chan_sip() {
            "nat=force_rport,comedia"
        } else {
            "force_rport=yes\nrewrite_contact=yes\nrtp_symmetric=yes"
        },
        ..Options::default()
    };
    for with in [With::Nothing, With::Sipnat] {
        play(release, options, Plan::PLAIN_NAT, with, |stage| {
            called(stage)?;
            if stage.scene.sipnat.is_some() {
                let stats = stage.scene.sipnat()?.command(&["stats"])?;
                ensure!(!stats.contains("out_redirected"), "{stats}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// `chan_sip` calls the source of a REGISTER that asks for responses there, but sends ACK and BYE to the Contact.
#[test]
fn rport_at_chan_sip() -> Result<()> {
    let (options, plan) = (Options::default(), Plan::PLAIN_NAT);
    let called = |stage: &Stage<'_>| -> Result<()> {
        let phone = stage.phone(0, 0, "1000")?.with_rport();
        phone.register()?;
        stage.asterisk.call("1000")?;
        phone.answers()?.hangs_up()
    };
    play(Release::ChanSip16, options, plan, With::Sipnat, called)?;
    play(Release::ChanSip16, options, plan, With::Nothing, |stage| {
        let scene = stage.scene;
        scene.must_fail(|_| called(stage), "ACK", Death::PrivateAddress)
    })
}

/// By default, `chan_sip` compares the address in Via with the source. Where the router's ALG has written its own address
/// there, it sees no NAT.
#[test]
fn nat_that_chan_sip_does_not_see() -> Result<()> {
    let options = Options {
        phones: "nat=auto_force_rport,auto_comedia",
        ..Options::default()
    };
    let release = Release::ChanSip16;
    play(release, options, Plan::PLAIN_NAT, With::Nothing, called)?;
    play(release, options, Plan::SLIDE, With::Sipnat, called)?;
    play(release, options, Plan::SLIDE, With::Nothing, |stage| {
        stage.must_fail(called, "SIP/2.0 401")
    })
}

/// The PBX calls a phone, and hangs up.
fn called(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let call = phone.answers()?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

with_each_pbx!(local_networks);

/// A PBX behind a NAT of its own gives its outer address to all but its local networks. If those contain the phones'
/// private addresses, the phones get the PBX's private address.
fn local_networks(release: Release) -> Result<()> {
    const OUTER: &str = "198.51.100.99";
    let [own, phones] = if release.is_chan_sip() {
        [
            "externaddr=198.51.100.99\nlocalnet=203.0.113.0/24",
            "externaddr=198.51.100.99\nlocalnet=203.0.113.0/24\nlocalnet=192.168.0.0/16",
        ]
    } else {
        [
            "external_signaling_address=198.51.100.99\nlocal_net=203.0.113.0/24",
            "external_signaling_address=198.51.100.99\nlocal_net=203.0.113.0/24\n\
             local_net=192.168.0.0/16",
        ]
    };
    for (socket, is_outer) in [(own, true), (phones, false)] {
        let options = Options {
            socket,
            ..Options::default()
        };
        play(release, options, Plan::PLAIN_NAT, With::Sipnat, |stage| {
            let phone = stage.registered(0, 0, "1000")?;
            stage.asterisk.call("1000")?;
            let invite = phone.hear("INVITE")?;
            let contact = invite.message.contact().context("no Contact")?;
            ensure!(contact.contains(OUTER) == is_outer, "{socket}: {contact}");
            Ok(())
        })?;
    }
    Ok(())
}

with_each_pbx!(kept_open);

/// The router forgets a mapping that is not used for 30 seconds. OPTIONS every 15 seconds keep it open, so that the PBX
/// reaches the phone after a longer silence.
fn kept_open(release: Release) -> Result<()> {
    for (qualify, is_reached) in [(15, true), (0, false)] {
        let options = Options {
            qualify,
            ..Options::default()
        };
        play(release, options, Plan::PLAIN_NAT, With::Sipnat, |stage| {
            let phone = stage.phone(0, 0, "1000")?;
            phone.registers_for("600")?;
            // Something longer than the router's patience.
            let silence = phone.hear_within("INVITE", 8 * SOON)?;
            ensure!(silence.is_none(), "somebody called");
            stage.asterisk.call("1000")?;
            let heard = phone.hear_within("INVITE", SOON)?;
            ensure!(
                heard.is_some() == is_reached,
                "OPTIONS every {qualify} s: {}",
                heard.is_some()
            );
            Ok(())
        })?;
    }
    Ok(())
}
