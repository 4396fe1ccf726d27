//! Audio of all calls: each phone and the PBX send RTP while their call is up. The PBX sends to the private address in the
//! phone's description.

use std::{
    collections::{HashMap, VecDeque},
    io::ErrorKind,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nat_test_support::{PBX, netns::Netns};

use crate::{
    network::{Site, private},
    shared::{Begun, Figure, Shared, Stage},
};

/// Port of audio of every phone.
const PHONE_PORT: u16 = 4000;
/// First port of audio of the PBX: two for each phone.
const FIRST_PORT: u16 = 10_000;
/// Interval of packets of a stream.
const INTERVAL: Duration = Duration::from_millis(200);
/// Age of a call whose audio must arrive: its first packets go where the PBX sends them.
const STEADY: Duration = Duration::from_secs(2);
/// Time in which a packet arrives.
const TRANSIT: Duration = Duration::from_secs(1);

/// Returns a phone's description.
pub(crate) fn of_phone(index: usize) -> String {
    let ip = private(index).ip().to_owned();
    format!(
        "v=0\r\no=phone 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {PHONE_PORT} RTP/AVP 0\r\n"
    )
}

/// Returns the PBX's description in calls with a phone.
pub(crate) fn of_pbx(phone: usize) -> String {
    let (ip, port) = (PBX.ip(), pbx_port(phone));
    format!(
        "v=0\r\no=pbx 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

const fn pbx_port(phone: usize) -> u16 {
    FIRST_PORT + 2 * phone as u16
}

/// Both ends of a phone's stream.
struct Ends {
    phone: UdpSocket,
    pbx: UdpSocket,
    /// Address in the phone's description.
    advertised: SocketAddrV4,
    /// Time since which its call is up; none if it is not.
    up: Option<Instant>,
}

/// A packet of the PBX that must arrive.
struct Sent {
    phone: usize,
    number: u32,
    at: Instant,
    begun: Begun,
}

/// Sends and hears all audio.
pub(crate) struct Audio<'s> {
    shared: &'s Shared,
    all: Vec<Ends>,
    number: u32,
    sent: VecDeque<Sent>,
    /// Packets of `sent` that have arrived.
    arrived: HashMap<(usize, u32), ()>,
}

impl<'s> Audio<'s> {
    /// Opens the sockets of `per_site` phones at each site.
    pub(crate) fn new(
        shared: &'s Shared,
        pbx: &Netns,
        sites: &[Site],
        per_site: usize,
    ) -> Result<Self> {
        let mut all = Vec::new();
        for (phone, site) in (0..).step_by(per_site).zip(sites) {
            for index in 0..per_site {
                let advertised = SocketAddrV4::new(*private(index).ip(), PHONE_PORT);
                let here = SocketAddrV4::new(*PBX.ip(), pbx_port(phone + index));
                let ends = Ends {
                    phone: site.phones.udp(advertised)?,
                    pbx: pbx.udp(here)?,
                    advertised,
                    up: None,
                };
                ends.phone.set_nonblocking(true)?;
                ends.pbx.set_nonblocking(true)?;
                all.push(ends);
            }
        }
        Ok(Self {
            shared,
            all,
            number: 0,
            sent: VecDeque::new(),
            arrived: HashMap::new(),
        })
    }

    /// Sends and hears until all calls have ended.
    pub(crate) fn play(mut self) -> Result<()> {
        let mut due = Instant::now();
        while self.shared.stage() != Stage::Over {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += INTERVAL;
            self.number += 1;
            for phone in 0..self.all.len() {
                self.send(phone);
            }
            thread::sleep(INTERVAL / 4);
            for phone in 0..self.all.len() {
                self.hear(phone)?;
            }
            self.settle();
        }
        Ok(())
    }

    fn send(&mut self, phone: usize) {
        let is_up = self.shared.is_up(phone);
        let ends = &mut self.all[phone];
        if !is_up {
            ends.up = None;
            return;
        }
        let up = *ends.up.get_or_insert_with(Instant::now);
        let here = SocketAddrV4::new(*PBX.ip(), pbx_port(phone));
        // A full buffer or a changing route loses a packet, as it does for a phone.
        let _ = ends.phone.send_to(&rtp(phone, self.number, 0), here);
        if ends
            .pbx
            .send_to(&rtp(phone, self.number, 1), ends.advertised)
            .is_ok()
            && up.elapsed() >= STEADY
        {
            self.sent.push_back(Sent {
                phone,
                number: self.number,
                at: Instant::now(),
                begun: self.shared.begin(phone),
            });
        }
    }

    fn hear(&mut self, phone: usize) -> Result<()> {
        let ends = &self.all[phone];
        let mut buffer = [0; 256];
        for (socket, side) in [(&ends.phone, 1), (&ends.pbx, 0)] {
            loop {
                let length = match socket.recv_from(&mut buffer) {
                    Ok((length, SocketAddr::V4(_))) => length,
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // ICMP of a phone whose router has gone.
                    Err(_) => continue,
                };
                let Some((of, number)) = read(&buffer[..length], side) else {
                    continue;
                };
                if of != phone {
                    eprintln!("phone {phone}, side {side}: audio of phone {of}");
                    self.shared.count(Figure::AudioWrong);
                } else if side == 1 {
                    self.shared.count(Figure::AudioRight);
                    self.arrived.insert((phone, number), ());
                }
            }
        }
        Ok(())
    }

    /// Looks what became of packets that must have arrived by now.
    fn settle(&mut self) {
        while let Some(sent) = self.sent.front()
            && sent.at.elapsed() >= TRANSIT
        {
            let Some(sent) = self.sent.pop_front() else {
                return;
            };
            let arrived = self.arrived.remove(&(sent.phone, sent.number)).is_some();
            let ended = self.all[sent.phone].up.is_none_or(|up| up > sent.at);
            if arrived {
                self.shared.count(Figure::AudioSteady);
            } else if self.shared.changed_since(&sent.begun) {
                self.shared.count(Figure::AudioLostInChange);
            } else if !ended {
                self.shared.count(Figure::AudioSteady);
                self.shared.count(Figure::AudioLost);
            }
        }
        // Those of calls that were not steady yet.
        if self.arrived.len() > 64 * self.all.len() {
            self.arrived.clear();
        }
    }
}

/// Returns RTP of a phone's stream, in a direction.
fn rtp(phone: usize, number: u32, side: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((number * 160).to_be_bytes());
    packet.extend((phone as u32 + 1).to_be_bytes());
    packet.push(side);
    packet.extend(number.to_be_bytes());
    packet.resize(172, 0xd5);
    packet
}

/// Reads the phone and the number of a packet in a direction.
fn read(packet: &[u8], side: u8) -> Option<(usize, u32)> {
    let source: [u8; 4] = packet.get(8..12)?.try_into().ok()?;
    let number: [u8; 4] = packet.get(13..17)?.try_into().ok()?;
    let phone = u32::from_be_bytes(source).checked_sub(1)?;
    (packet[12] == side).then_some((phone as usize, u32::from_be_bytes(number)))
}

/// Fails unless nearly all audio of calls that were up has arrived, and none elsewhere.
pub(crate) fn check(shared: &Shared) -> Result<()> {
    let get = |figure| shared.get(figure);
    ensure!(
        get(Figure::AudioSteady) > 0,
        "no audio: this soak proves nothing"
    );
    ensure!(
        get(Figure::AudioWrong) == 0,
        "audio arrived at another phone"
    );
    ensure!(
        get(Figure::AudioLost) * 1000 <= get(Figure::AudioSteady),
        "more than one packet of audio in a thousand is lost"
    );
    Ok(())
}
