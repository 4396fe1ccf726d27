//! Next hop and checksums of a redirected packet.

use anyhow::{Context as _, Result, ensure};
use etherparse::{Ipv4Header, UdpHeader};
use nat_test_support::{
    Alg, Answers, Plan, StrictPbx,
    capture::{Direction, Packet, Tap},
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, With, play, scenario};

scenario!(
    other_gateway,
    Plan { alg: Alg::NONE, private_route: true, ..Plan::default() },
    without sipnat "INVITE" dies Death::OtherGateway
);

/// The advertised address is routed to another gateway than the learned one. It may be that of a host behind that gateway,
/// so the first request of the call goes there twice, and nothing after it.
fn other_gateway(scene: &Scene<'_>) -> Result<()> {
    call(scene)?;
    let there = scene.capture.at(Tap::OtherGateway, Direction::In);
    let starts: Vec<_> = there.iter().map(Packet::start_line).collect();
    ensure!(
        starts == ["INVITE sip:1000@192.168.1.10:5060 SIP/2.0"; 2],
        "the other gateway got {starts:?}"
    );
    Ok(())
}

/// Under policy `force` it gets nothing.
#[test]
fn other_gateway_under_force() -> Result<()> {
    let plan = Plan {
        alg: Alg::NONE,
        private_route: true,
        ..Plan::default()
    };
    play(plan, With::Arguments(&["--policy", "force"]), |scene| {
        call(scene)?;
        let there = scene.capture.at(Tap::OtherGateway, Direction::In);
        ensure!(there.is_empty(), "the other gateway got {there:?}");
        Ok(())
    })
}

scenario!(
    complete_checksums,
    Plan { checksum_offload: false, ..Plan::default() },
    without sipnat "INVITE" dies Death::Port5060
);

/// The PBX computes checksums itself.
fn complete_checksums(scene: &Scene<'_>) -> Result<()> {
    call(scene)?;
    for packet in redirected(scene)? {
        let (ip, _, udp, payload) = dissect(&packet)?;
        let expected = udp.calc_checksum_ipv4(&ip, payload)?;
        ensure!(
            udp.checksum == expected,
            "checksum {:#06x}, not {expected:#06x}",
            udp.checksum
        );
    }
    Ok(())
}

scenario!(partial_checksums, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The network card completes checksums: it expects the sum of the pseudo header.
fn partial_checksums(scene: &Scene<'_>) -> Result<()> {
    call(scene)?;
    for packet in redirected(scene)? {
        let (ip, protocol, udp, _) = dissect(&packet)?;
        let words = [ip.source, ip.destination].concat();
        let addresses: u32 = words
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = addresses + u32::from(protocol) + u32::from(udp.length);
        let expected = (sum & 0xffff) + (sum >> 16);
        ensure!(
            u32::from(udp.checksum) == expected,
            "checksum {:#06x}, not {expected:#06x}",
            udp.checksum
        );
    }
    Ok(())
}

fn call(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)
}

fn redirected(scene: &Scene<'_>) -> Result<Vec<Packet>> {
    let packets = ["INVITE", "ACK", "BYE"]
        .map(|start| scene.sent_by_pbx(start))
        .concat();
    ensure!(packets.len() >= 3, "the PBX sent too little");
    Ok(packets)
}

fn dissect(packet: &Packet) -> Result<(Ipv4Header, u8, UdpHeader, &[u8])> {
    let (ip, rest) = Ipv4Header::from_slice(&packet.ip).context("IPv4")?;
    ensure!(
        ip.header_checksum == ip.calc_header_checksum(),
        "wrong IPv4 header checksum"
    );
    let (udp, payload) = UdpHeader::from_slice(rest).context("UDP")?;
    let protocol = ip.protocol.0;
    Ok((ip, protocol, udp, payload))
}
