//! A sound card made of files, for phones that use ALSA on a machine without one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::{libc::O_NONBLOCK, sys::stat::Mode, unistd::mkfifo};

use crate::audio::{PACKET, RATE, tone};

/// Names of the card's two devices.
pub(crate) const MICROPHONE: &str = "microphone";
pub(crate) const LOUDSPEAKER: &str = "loudspeaker";

/// Configuration of ALSA. A `null` device takes no time to read from, but the pipe does.
const CONFIG: &str = "\
pcm.microphone {
  type file
  slave.pcm null
  file /dev/null
  infile DIR/microphone
  format raw
}
pcm.loudspeaker {
  type file
  slave.pcm null
  file DIR/loudspeaker
  format raw
}
";

/// A card whose microphone hears a tone, in samples of [`RATE`] a second. It ends when dropped.
#[derive(Debug)]
pub(crate) struct SoundCard {
    loudspeaker: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SoundCard {
    /// Makes the card of a phone whose home is `dir`. Its microphone hears a tone of `hertz`.
    pub(crate) fn start(dir: &Path, hertz: u32) -> Result<Self> {
        let name = dir.to_str().context("a folder without a name")?;
        fs::write(dir.join(".asoundrc"), CONFIG.replace("DIR", name))?;
        let microphone = dir.join(MICROPHONE);
        mkfifo(&microphone, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let stop = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || speak(&microphone, hertz, &stop)
        });
        Ok(Self {
            loudspeaker: dir.join(LOUDSPEAKER),
            stop,
            thread: Some(thread),
        })
    }

    /// Returns the samples that were played so far, and their number a second.
    pub(crate) fn heard(&self) -> Result<(Vec<i16>, u32)> {
        let bytes = fs::read(&self.loudspeaker).context("the phone has played nothing")?;
        let (samples, _) = bytes.as_chunks();
        Ok((
            samples.iter().copied().map(i16::from_le_bytes).collect(),
            RATE,
        ))
    }
}

impl Drop for SoundCard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes a tone into a pipe, in the time that it lasts, whenever somebody reads.
fn speak(pipe: &Path, hertz: u32, stop: &AtomicBool) {
    let mut open = None;
    let mut next = Instant::now();
    for packet in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let samples: Vec<u8> = tone(packet, hertz).flat_map(i16::to_le_bytes).collect();
        open = open.or_else(|| reader_of(pipe).ok());
        let written = open.as_mut().map(|pipe| pipe.write_all(&samples));
        // A reader that does not keep up misses some; one that is gone may come again.
        if let Some(Err(error)) = written
            && error.kind() != io::ErrorKind::WouldBlock
        {
            open = None;
        }
        next += PACKET;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Opens a pipe for writing. Fails if nobody reads.
fn reader_of(pipe: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(pipe)
}
