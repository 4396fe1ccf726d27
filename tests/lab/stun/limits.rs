//! Limits: a rate for each source, and sources and destinations that get no answer.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX,
    lab::{NEIGHBOUR, PUBLIC_PHONE},
    netns::receive,
    stun::{self, mapped, transaction},
};

use super::{PLAN, STUN, STUN_PORT, TRANSIT};
use crate::scene::{SOON, With, play};

/// Requests that a phone sends in one go for a test of the limit.
const FLOOD: u64 = 200;

/// A phone that asks too often gets a burst of answers and then a fixed rate. Other phones are answered as before.
#[test]
fn limit() -> Result<()> {
    const RATE: u64 = 20;
    const BURST: u64 = 50;
    play(PLAN, STUN, |scene| {
        let phone = scene.lab.phone();
        let socket = phone.netns.udp(phone.private)?;
        let start = Instant::now();
        let answered = flood(&socket)?;
        let seconds = start.elapsed().as_secs() + 1;
        ensure!(
            (BURST..=BURST + RATE * seconds).contains(&answered),
            "{answered} answers in {seconds} s"
        );
        ensure!(scene.count("stun_answered")? == answered, "other answers");
        ensure!(
            scene.count("stun_limited")? == FLOOD - answered,
            "others left out"
        );

        let other = scene.lab.public_phone.udp(PUBLIC_PHONE)?;
        ensure!(
            ask(&other, STUN_PORT.into())? == Some(PUBLIC_PHONE.into()),
            "the other one"
        );
        // In this time the phone earns two answers.
        thread::sleep(Duration::from_millis(100));
        ensure!(
            ask(&socket, STUN_PORT.into())? == Some(phone.public.into()),
            "never again"
        );
        Ok(())
    })
}

#[test]
fn no_limit() -> Result<()> {
    play(
        PLAN,
        With::Arguments(&["--stun", "--stun-rate", "0", "--xdp", "native"]),
        |scene| {
            let phone = scene.lab.phone();
            let answered = flood(&phone.netns.udp(phone.private)?)?;
            ensure!(answered == FLOOD, "{answered} answers");
            ensure!(scene.count("stun_limited")? == 0, "some were left out");
            Ok(())
        },
    )
}

/// An answer to a private address would go to another network, unless it is that of the PBX.
#[test]
fn private_source() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.lab.pbx.udp(STUN_PORT)?;
        pbx.set_read_timeout(Some(SOON))?;
        let spoofed = Ipv4Addr::new(10, 9, 9, 9);
        scene.lab.isp.ip(&format!("addr add {spoofed}/32 dev lo"))?;
        let socket = scene.lab.isp.udp((spoofed, PBX.port()))?;
        ensure!(ask(&socket, STUN_PORT.into())?.is_none(), "it was answered");
        // The PBX may answer or not.
        receive(&pbx, &mut [0; 2048]).context("it was not passed on")?;
        ensure!(scene.count("stun_bad_source")? == 1, "not for that reason");
        ensure!(scene.lab.dropped()?.private == 0, "an answer was sent");

        let [near, here] = [20, 1].map(|host| Ipv4Addr::new(192, 168, 77, host));
        scene
            .lab
            .neighbour
            .ip(&format!("addr add {near}/24 dev eth0"))?;
        scene.lab.pbx.ip(&format!("addr add {here}/24 dev eth0"))?;
        let socket = scene.lab.neighbour.udp((near, PBX.port()))?;
        // The agent notices new addresses within a moment.
        let deadline = Instant::now() + SOON;
        while ask(&socket, (here, stun::PORT).into())? != Some((near, PBX.port()).into()) {
            ensure!(Instant::now() < deadline, "not answered in its own subnet");
        }
        Ok(())
    })
}

/// A request that the PBX's host forwards is not answered.
#[test]
fn forwarded() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let server = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 20), stun::PORT);
        let lab = scene.lab;
        lab.isp
            .ip(&format!("route add {} via {}", server.ip(), PBX.ip()))?;
        lab.pbx.sysctl("ipv4/ip_forward", "1")?;
        lab.pbx
            .ip(&format!("route add {} via {NEIGHBOUR}", server.ip()))?;
        lab.neighbour
            .ip(&format!("addr add {}/32 dev lo", server.ip()))?;
        let server_socket = lab.neighbour.udp(server)?;
        server_socket.set_read_timeout(Some(SOON))?;

        let socket = lab.public_phone.udp(PUBLIC_PHONE)?;
        ensure!(ask(&socket, server.into())?.is_none(), "it was answered");
        let mut buffer = [0; 2048];
        let (length, source) = receive(&server_socket, &mut buffer).context("not forwarded")?;
        ensure!(
            source == PUBLIC_PHONE.into() && stun::is_request(&buffer[..length]),
            "{source}"
        );
        ensure!(scene.count("stun_not_here")? == 1, "not for that reason");
        Ok(())
    })
}

/// Sends requests in one go. Returns the number of answers.
fn flood(socket: &UdpSocket) -> Result<u64> {
    let mut answered = 0;
    let mut hear = || {
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = receive(socket, &mut buffer) {
            answered += u64::from(mapped(&buffer[..length]).is_some());
        }
    };
    socket.set_nonblocking(true)?;
    for _ in 0..FLOOD {
        socket.send_to(&stun::request(), STUN_PORT)?;
        // The socket's buffer does not hold all answers.
        hear();
    }
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(TRANSIT))?;
    hear();
    Ok(answered)
}

/// Sends one request. Returns the mapped address, or none without an answer.
fn ask(socket: &UdpSocket, server: SocketAddr) -> Result<Option<SocketAddr>> {
    let request = stun::request();
    socket.send_to(&request, server)?;
    socket.set_read_timeout(Some(TRANSIT))?;
    let mut buffer = [0; 2048];
    let Ok((length, source)) = receive(socket, &mut buffer) else {
        return Ok(None);
    };
    let response = &buffer[..length];
    let ours = source == server && transaction(response) == transaction(&request);
    ensure!(ours, "not the answer");
    Ok(mapped(response))
}
