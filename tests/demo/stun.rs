//! A phone that learns its address by STUN, and needs no redirect.

use std::{net::SocketAddrV4, time::Instant};

use anyhow::{Context as _, Result, bail};
use nat_test_support::{
    Answers, Lab, PBX, Plan, Sipnat, StrictPbx,
    capture::{Direction, Tap},
    ladder::{Ladder, Style},
    stun,
    twinkle::Twinkle,
};

use crate::{SOON, TRANSIT, heading};

const INTRODUCTION: &str = "\
The lab, in network namespaces of this machine:
  phone   192.168.1.10:5060, Twinkle.
  router  maps it to 60.17.196.2:49163 (nftables masquerade). It has no SIP ALG.
  ISP     drops what is for private addresses, or comes in for its customers' UDP port 5060.
  PBX     203.0.113.10:5060 on eth0. It sends requests where the Contact says, as RFC 3261 has it.
";

const PLAN: Plan = Plan {
    xdp_replies: true,
    ..Plan::PLAIN_NAT
};

/// Runs the same phone twice: without a STUN server, and with sipnat as its STUN server.
pub(crate) fn demo(style: Style) -> Result<()> {
    let begin = Instant::now();
    println!("{INTRODUCTION}");

    heading(style, "Without STUN");
    let lab = Lab::new(PLAN)?;
    let without = call(&lab, None, None, style)?;
    println!(
        "The re-INVITE {}.\n",
        if without {
            "arrived"
        } else {
            "never reached the phone: the call is dead"
        }
    );
    drop(lab);

    heading(style, "With sipnat as its STUN server");
    let lab = Lab::new(PLAN)?;
    let sipnat = Sipnat::start(&lab.pbx, &["--stun", "--xdp", "native"])?;
    println!(
        "$ sipnat run --iface eth0 --stun --xdp native\n{}\n",
        sipnat.log().trim_end()
    );
    let with = call(&lab, Some(PBX), Some(&sipnat), style)?;
    let stats = sipnat.json(&["stats"])?;
    let stats = stats.as_object().context("no statistics")?;
    let count = |prefix: &str| -> u64 {
        let counters = stats.iter().filter(|(name, _)| name.starts_with(prefix));
        counters.filter_map(|(_, count)| count.as_u64()).sum()
    };
    let (answered, redirected) = (count("stun_answered"), count("out_redirected"));
    sipnat.stop()?;
    println!(
        "The re-INVITE {}. sipnat answered {answered} STUN requests and redirected {redirected} packets.\n",
        if with {
            "arrived, and the PBX's BYE ended the call"
        } else {
            "never reached the phone"
        }
    );

    println!("All of this took {:.1} s.", begin.elapsed().as_secs_f32());
    if without {
        bail!("the re-INVITE should not have arrived at a private address");
    }
    if !with || answered == 0 || redirected > 0 {
        bail!("the re-INVITE should have arrived by STUN alone");
    }
    Ok(())
}

/// The phone registers and calls. The PBX sends a re-INVITE and, once that is answered, a BYE. Returns whether both
/// were answered.
fn call(
    lab: &Lab,
    server: Option<SocketAddrV4>,
    sipnat: Option<&Sipnat<'_>>,
    style: Style,
) -> Result<bool> {
    let phone = lab.phone();
    let capture = lab.capture()?;
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let mut twinkle = Twinkle::start(phone, "1000", server)?;
    // The phone first finds out the kind of its NAT.
    twinkle.wait_ready(3 * SOON)?;
    twinkle.call("sip:2000@203.0.113.10")?;
    let dialog = pbx.call(SOON).with_context(|| twinkle.output())?;

    let answered = pbx.request(&dialog, "INVITE").is_ok();
    let bindings = sipnat
        .map(|sipnat| sipnat.command(&["bindings", "list"]))
        .transpose()?;
    let completed = answered && pbx.request(&dialog, "BYE").is_ok();
    if completed {
        capture.wait_for(TRANSIT, |packet| {
            (packet.tap, packet.direction) == (Tap::Pbx, Direction::In)
                && packet
                    .sip()
                    .is_some_and(|message| message.cseq().1 == "BYE")
        });
    }

    // The phone also finds out the kind of its NAT, from other ports.
    let mut packets = capture.packets();
    packets.retain(|packet| {
        !stun::is_request(&packet.payload)
            || packet.direction == Direction::In
            || packet.source == phone.private
            || packet.source == phone.public
    });
    println!("{}", Ladder::new(&packets, style));
    if let Some(bindings) = bindings {
        println!("$ sipnat bindings list        (after the re-INVITE, before the BYE)\n{bindings}");
    }
    Ok(completed)
}
