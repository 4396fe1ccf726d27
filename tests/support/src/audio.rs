//! Audio in the hands of a test: tones in RTP, to be recognised at the other end.

use std::{
    f64::consts::TAU,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::netns::Netns;

/// Samples a second of G.711.
pub const RATE: u32 = 8000;
/// Time that a packet holds.
pub(crate) const PACKET: Duration = Duration::from_millis(20);
/// Samples of a packet.
const SAMPLES: usize = 160;
/// Bytes of an RTP header without extensions.
const HEADER: usize = 12;

/// Time of a tone that is recognised: half a second.
const WINDOW: usize = RATE as usize / 2;
/// Least share of a tone in that time.
const CLEAR: f64 = 0.9;

/// Error of [`Speaker::hears`] where nothing came.
pub const DEAF: &str = "not a sample of audio came";

/// End of a stream that sends a tone, and keeps what it hears. It ends when dropped.
#[derive(Debug)]
pub struct Speaker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    hertz: u32,
    far: Mutex<Option<SocketAddrV4>>,
    heard: Mutex<Vec<i16>>,
    stop: AtomicBool,
}

impl Speaker {
    /// Listens at an address. It has a tone of `hertz`.
    pub fn start(netns: &Netns, local: SocketAddrV4, hertz: u32) -> Result<Self> {
        let socket = netns.udp(local)?;
        let shared = Arc::new(Shared {
            socket,
            hertz,
            far: Mutex::default(),
            heard: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Sends the tone to an address from now on, as the other end's description says.
    pub fn speak_to(&self, far: SocketAddrV4) {
        *self
            .shared
            .far
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(far);
    }

    /// Waits until half a second of what comes from now on is a tone of `hertz`.
    pub fn hears(&self, hertz: u32, limit: Duration) -> Result<()> {
        let (before, deadline) = (self.heard().len(), Instant::now() + limit);
        loop {
            let heard = self.heard();
            let new = &heard[before..];
            let last = &new[new.len().saturating_sub(WINDOW)..];
            let share = share(last, RATE, hertz);
            if last.len() == WINDOW && share > CLEAR {
                return Ok(());
            }
            if Instant::now() > deadline {
                if new.is_empty() {
                    bail!("{DEAF}");
                }
                bail!(
                    "{:.3} of the last of {} samples is a tone of {hertz} Hz",
                    share,
                    new.len()
                );
            }
            thread::sleep(PACKET);
        }
    }

    /// Returns the samples that came so far.
    pub fn heard(&self) -> Vec<i16> {
        let heard = self.shared.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut sequence = 0;
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            self.listen_until(next);
            next += PACKET;
            let far = *self.far.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(far) = far {
                // An error "unreachable" is the network's; the test looks at what arrives.
                let _ = self.socket.send_to(&packet(sequence, self.hertz), far);
                sequence += 1;
            }
        }
    }

    fn listen_until(&self, deadline: Instant) {
        let mut buffer = [0; 2000];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let _ = self
                .socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))));
            if let Ok((length, SocketAddr::V4(_))) = self.socket.recv_from(&mut buffer)
                && let Some(payload) = buffer[..length].get(HEADER..)
            {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend(payload.iter().map(|&byte| linear(byte)));
            }
        }
    }
}

/// Returns a packet of a tone in G.711 (RFC 3550 5.1; RFC 3551 6, payload type 0).
fn packet(sequence: u16, hertz: u32) -> Vec<u8> {
    const SSRC: u32 = 0x5049_4258;
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * SAMPLES as u32).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend(tone(sequence.into(), hertz).map(pcmu));
    packet
}

/// Returns the samples of a tone that a packet holds.
pub(crate) fn tone(packet: usize, hertz: u32) -> impl Iterator<Item = i16> {
    let first = packet * SAMPLES;
    (first..first + SAMPLES).map(move |sample| {
        let turns = f64::from(hertz) * sample as f64 / f64::from(RATE);
        ((TAU * turns).sin() * 10_000.0) as i16
    })
}

/// Returns how much of a sound is a tone of `hertz`: 0 none, 1 all (Goertzel's algorithm).
pub fn share(sound: &[i16], rate: u32, hertz: u32) -> f64 {
    let turn = TAU * f64::from(hertz) / f64::from(rate);
    let (mut last, mut before) = (0.0, 0.0);
    let mut energy = 0.0;
    for &sample in sound {
        let sample = f64::from(sample);
        energy += sample * sample;
        (last, before) = (sample + 2.0 * turn.cos() * last - before, last);
    }
    let power = last * last + before * before - 2.0 * turn.cos() * last * before;
    if energy > 0.0 {
        2.0 * power / (energy * sound.len() as f64)
    } else {
        0.0
    }
}

/// Returns the largest share of a tone in a tenth of a second of a sound. A phone on a busy machine has gaps in its sound.
pub fn clearest(sound: &[i16], rate: u32, hertz: u32) -> f64 {
    let windows = sound.chunks_exact(rate as usize / 10);
    windows
        .map(|window| share(window, rate, hertz))
        .fold(0.0, f64::max)
}

/// Bias of G.711's μ-law.
const BIAS: u16 = 132;

/// Returns the μ-law byte of a sample (ITU-T G.711).
fn pcmu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(0x7fff - BIAS) + BIAS;
    let exponent = 8 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0xf;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

/// Returns the sample of a μ-law byte.
fn linear(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((u16::from(byte & 0xf) << 3) + BIAS) << ((byte >> 4) & 7);
    let magnitude = (magnitude - BIAS) as i16;
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_samples_and_back() {
        for byte in 0..=255 {
            // There are two zeros.
            if byte != 0x7f {
                assert_eq!(pcmu(linear(byte)), byte);
            }
        }
        // The ends of the table in G.711, in sixteen bits.
        assert_eq!([0x80, 0x00, 0xff].map(linear), [32124, -32124, 0]);
    }

    #[test]
    fn a_tone_is_recognised() {
        let sound: Vec<i16> = (0..50)
            .flat_map(|sequence| packet(sequence, 1000).split_off(HEADER))
            .map(linear)
            .collect();
        assert!(share(&sound, RATE, 1000) > 0.95);
        assert!(share(&sound, RATE, 440) < 0.05);
        assert_eq!(share(&[0; 100], RATE, 440), 0.0);
    }
}
