//! `sipnat replay --media`: the audio of a captured call.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Lab, PBX, Plan};
use nat_userspace::host::capture::{self, Ip};

use super::{PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, rtp};
use crate::{
    replay::{captured, counters, replay, save},
    scene::{SOON, Scene},
};

/// Number of packets of each side after the phone's first one.
const PACKETS: u16 = 3;

/// A call without sipnat. The PBX speaks before the phone, and the phone hears nothing.
fn talk(scene: &Scene<'_>) -> Result<()> {
    let stage = &Stage { scene, soon: SOON };
    let (pbx, phone) = stage.parties()?;
    call(stage, &pbx, &phone)?;
    let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
    stream.misses_phone(&rtp(0, PBX_SSRC), "without sipnat")?;
    for number in 1..=PACKETS {
        stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        stream.misses_phone(&rtp(number, PBX_SSRC), "without sipnat")?;
    }
    Ok(())
}

/// Replay says that the PBX's audio would reach the phone from its first packet on, and `--write` where it would go. Without
/// `--media` it would go to the private address.
#[test]
fn a_captured_call() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let [file, out] = ["call.pcap", "out.pcap"].map(|name| directory.path().join(name));
    let packets = captured(Plan::PLAIN_NAT, |scene| talk(scene).expect("the call"))?;
    save(&packets, &file)?;
    let [file, out_name] = [&file, &out].map(|path| path.to_str().unwrap_or_default());
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let advertised = SocketAddr::from((*lab.phone().private.ip(), PHONE_AUDIO));
    let learned = SocketAddr::from((*lab.phone().public.ip(), PHONE_AUDIO));
    let rest = usize::from(PACKETS);
    for (media, rewritten) in [(&["--media"][..], rest), (&[], 0)] {
        let report = replay(&lab.pbx, &[&[file, "--write", out_name], media].concat())?;
        let mut went = BTreeMap::new();
        capture::read(capture::open(&out)?, |packet| {
            let [from, to] = Ip::of(packet.frame).context("no IP")?.ends();
            if from == SocketAddr::from((*PBX.ip(), PBX_AUDIO)) {
                *went.entry(to).or_insert(0) += 1;
            }
            Ok(())
        })?;
        let mut expected = BTreeMap::from([(advertised, 1 + rest - rewritten)]);
        if rewritten > 0 {
            expected.insert(learned, rewritten);
        }
        ensure!(went == expected, "{media:?}: {went:?}\n{report:#}");
        let counted = counters(&report)?;
        for (name, count) in [
            ("media_bound", 2),
            ("media_waiting", 1),
            ("media_latched", 1),
            ("media_rewritten", rest as u64),
        ] {
            let count = (rewritten > 0).then_some(&count);
            ensure!(counted.get(name) == count, "{media:?}: {name}: {counted:?}");
        }
    }
    Ok(())
}
