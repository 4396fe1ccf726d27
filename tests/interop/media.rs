//! Calls with sound. With `--media` both ends hear each other, and without it the phone hears nothing.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Lab, PBX, Plan, Sipnat,
    asterisk::{Asterisk, EARLY_TONE, ECHO, HERTZ, Options, Release, TONE},
    audio::{self, DEAF, Speaker},
    baresip::Baresip,
    handset::{Dialog, Handset},
    lab::{PUBLIC_PHONE, Phone},
    linphone::Linphone,
    pjsua2::Pjsua2,
    scene::{SOON, With},
    twinkle::Twinkle,
};
use nix::sys::signal::Signal;

use crate::frame::{Stage, play, with_each_pbx};

const MEDIA: With = With::Arguments(&["--media"]);
const RESTORE: With = With::Arguments(&["--media", "--media-restore"]);
const DROP: With = With::Arguments(&["--media", "--media-guard", "drop"]);

/// Port of audio in the description of a phone.
const AUDIO: u16 = 4000;

/// Tones of phones, in hertz.
const HERE: u32 = 440;
const THERE: u32 = 620;
const THIRD: u32 = 850;

/// Asterisk believes another source of audio only in the first five seconds after a description (`strictrtp`).
const LEARNED: Duration = Duration::from_secs(6);

const TWO_SITES: Plan = Plan {
    sites: 2,
    ..Plan::PLAIN_NAT
};

const THREE_PHONES: Plan = Plan {
    phones: 2,
    ..TWO_SITES
};

/// A scripted phone with a voice.
struct Talker {
    phone: Handset,
    voice: Speaker,
}

impl Talker {
    fn start(phone: &Phone, user: &str, hertz: u32) -> Result<Self> {
        let audio = SocketAddrV4::new(*phone.private.ip(), AUDIO);
        Ok(Self {
            phone: Handset::start(&phone.netns, phone.private, user, SOON)?,
            voice: Speaker::start(&phone.netns, audio, hertz)?,
        })
    }

    fn with_rport(mut self) -> Self {
        self.phone = self.phone.with_rport();
        self
    }

    /// Calls an extension, and speaks.
    fn calls(&self, extension: &str) -> Result<Dialog<'_>> {
        let call = self.phone.calls(extension)?;
        self.speaks_in(&call)?;
        Ok(call)
    }

    /// Answers a call, and speaks.
    fn answers(&self) -> Result<Dialog<'_>> {
        let call = self.phone.answers()?;
        self.speaks_in(&call)?;
        Ok(call)
    }

    fn speaks_in(&self, call: &Dialog<'_>) -> Result<()> {
        let audio = call.audio.context("the PBX describes no audio")?;
        self.voice.speak_to(audio);
        Ok(())
    }

    fn hears(&self, hertz: u32) -> Result<()> {
        let hears = self.voice.hears(hertz, SOON);
        hears.with_context(|| format!("{} does not hear {hertz} Hz", self.phone.terminal.aor))
    }
}

impl Stage<'_> {
    /// The phone that talks in most scenarios.
    fn talker(&self) -> Result<Talker> {
        Talker::start(self.scene.lab.phone(), "1000", HERE)
    }

    /// A phone that has registered, and talks.
    fn registered_talker(
        &self,
        site: usize,
        phone: usize,
        user: &str,
        hertz: u32,
    ) -> Result<Talker> {
        let talker = Talker::start(&self.scene.lab.sites[site].phones[phone], user, hertz)?;
        talker.phone.register()?;
        Ok(talker)
    }
}

/// Plays a scenario with media, and without, where a phone must hear nothing.
fn needs_media(
    release: Release,
    plan: Plan,
    scenario: impl Fn(&Stage<'_>) -> Result<()>,
) -> Result<()> {
    play(release, Options::default(), plan, MEDIA, &scenario)?;
    play(release, Options::default(), plan, With::Sipnat, |stage| {
        is_deaf(scenario(stage)).context("without media")
    })
}

/// Fails unless a scenario has failed because a phone heard nothing.
fn is_deaf(played: Result<()>) -> Result<()> {
    let error = format!("{:#}", played.err().context("the phone hears")?);
    ensure!(error.contains(DEAF), "{error}");
    Ok(())
}

with_each_pbx!(phone_calls);

/// The phone calls and hears the PBX. In a second call it hears itself, since the PBX hears it.
fn phone_calls(release: Release) -> Result<()> {
    needs_media(release, Plan::PLAIN_NAT, |stage| {
        let talker = stage.talker()?;
        for (extension, heard) in [(TONE, HERTZ), (ECHO, HERE)] {
            let call = talker.calls(extension)?;
            talker.hears(heard)?;
            call.hangs_up()?;
        }
        Ok(())
    })
}

with_each_pbx!(pbx_calls);

/// The PBX calls the phone, which hears it, and hangs up.
fn pbx_calls(release: Release) -> Result<()> {
    needs_media(release, Plan::PLAIN_NAT, |stage| {
        let talker = stage.registered_talker(0, 0, "1000", HERE)?;
        stage.asterisk.connect("1000", TONE)?;
        let call = talker.answers()?;
        talker.hears(HERTZ)?;
        stage.asterisk.hang_up()?;
        call.hears("BYE").map(drop)
    })
}

with_each_pbx!(early);

/// The PBX speaks before it answers. The phone gives up. It asks for `rport`: a 183 that goes elsewhere is not repeated.
fn early(release: Release) -> Result<()> {
    needs_media(release, Plan::PLAIN_NAT, |stage| {
        let talker = stage.talker()?.with_rport();
        let invite = talker.phone.invites(EARLY_TONE)?;
        let progress = talker.phone.hear("SIP/2.0 183")?;
        let audio = progress.message.audio().context("183 describes no audio")?;
        talker.voice.speak_to(audio);
        talker.hears(HERTZ)?;
        talker.phone.cancels(&invite)
    })
}

with_each_pbx!(held);

/// The phone holds the call in two forms, and comes back. It hears itself again.
fn held(release: Release) -> Result<()> {
    needs_media(release, Plan::PLAIN_NAT, |stage| {
        let talker = stage.talker()?;
        let call = talker.calls(ECHO)?;
        talker.hears(HERE)?;
        for direction in ["sendonly", "inactive"] {
            call.reinvites(direction)?;
            call.reinvites("sendrecv")?;
            talker.hears(HERE).context(direction)?;
        }
        call.hangs_up()
    })
}

with_each_pbx!(two_sites);

/// Two phones with the same private address talk through the PBX.
fn two_sites(release: Release) -> Result<()> {
    needs_media(release, TWO_SITES, |stage| {
        let here = stage.registered_talker(0, 0, "1000", HERE)?;
        let there = stage.registered_talker(1, 0, "2000", THERE)?;
        let invite = here.phone.invites("2000")?;
        let answering = there.answers()?;
        let calling = here.phone.is_answered(&invite)?;
        here.speaks_in(&calling)?;
        here.hears(THERE)?;
        there.hears(HERE)?;
        calling.hangs_up()?;
        answering.hears("BYE").map(drop)
    })
}

with_each_pbx!(transferred);

/// A phone in a call sends the other one to a third, which is its neighbour. Those two then talk.
fn transferred(release: Release) -> Result<()> {
    needs_media(release, THREE_PHONES, |stage| {
        let here = stage.registered_talker(0, 0, "1000", HERE)?;
        let there = stage.registered_talker(1, 0, "2000", THERE)?;
        let third = stage.registered_talker(1, 1, "2001", THIRD)?;
        let invite = here.phone.invites("2000")?;
        let answering = there.answers()?;
        let calling = here.phone.is_answered(&invite)?;
        here.speaks_in(&calling)?;
        here.hears(THERE)?;
        there.hears(HERE)?;
        stage.asterisk.has_joined(1)?;
        calling.refers_to("2001")?;
        let transferred = third.answers()?;
        here.phone.has_transferred(&[&calling])?;
        third.hears(THERE)?;
        there.hears(THIRD)?;
        transferred.hangs_up()?;
        answering.hears("BYE").map(drop)
    })
}

with_each_pbx!(transferred_after_asking);

/// A phone with two calls joins them, and leaves. The other two then talk.
fn transferred_after_asking(release: Release) -> Result<()> {
    for with in [MEDIA, With::Sipnat] {
        let plan = THREE_PHONES;
        play(release, Options::default(), plan, with, |stage| {
            let here = stage.registered_talker(0, 0, "1000", HERE)?;
            let there = stage.registered_talker(1, 0, "2000", THERE)?;
            let third = stage.registered_talker(1, 1, "2001", THIRD)?;
            let invite = here.phone.invites("2000")?;
            let answering = there.answers()?;
            let first = here.phone.is_answered(&invite)?;
            first.reinvites("sendonly")?;
            let invite = here.phone.invites("2001")?;
            let asked = third.answers()?;
            let second = here.phone.is_answered(&invite)?;
            here.speaks_in(&second)?;
            let asking = [here.hears(THIRD), third.hears(HERE)];
            stage.asterisk.has_joined(2)?;
            first.refers_to_end_of("2001", &second)?;
            here.phone.has_transferred(&[&first, &second])?;
            let joined = [third.hears(THERE), there.hears(THIRD)];
            for heard in asking.into_iter().chain(joined) {
                if with == MEDIA {
                    heard?;
                } else {
                    is_deaf(heard).context("without media")?;
                }
            }
            asked.hangs_up()?;
            answering.hears("BYE").map(drop)
        })?;
    }
    Ok(())
}

/// The NAT gives the phone's audio another port.
fn rebinds(stage: &Stage<'_>) -> Result<()> {
    let other = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 50_123);
    stage.scene.lab.sites[0].remap_port(AUDIO, other)
}

with_each_pbx!(rebound);

/// The NAT rebinds long after the beginning of a call. The phone goes on hearing the PBX.
fn rebound(release: Release) -> Result<()> {
    needs_media(release, Plan::PLAIN_NAT, |stage| {
        let talker = stage.talker()?;
        let call = talker.calls(TONE)?;
        talker.hears(HERTZ)?;
        thread::sleep(LEARNED);
        rebinds(stage)?;
        talker.hears(HERTZ)?;
        call.hangs_up()
    })
}

with_each_pbx!(rebound_and_restored);

/// Then Asterisk no longer hears the phone, unless the phone's source is restored.
fn rebound_and_restored(release: Release) -> Result<()> {
    let rebound = |stage: &Stage<'_>| -> Result<()> {
        let talker = stage.talker()?;
        let call = talker.calls(ECHO)?;
        talker.hears(HERE)?;
        thread::sleep(LEARNED);
        rebinds(stage)?;
        // What was on its way.
        thread::sleep(Duration::from_millis(300));
        talker.hears(HERE)?;
        call.hangs_up()
    };
    let plan = Plan::PLAIN_NAT;
    play(release, Options::default(), plan, RESTORE, rebound)?;
    play(release, Options::default(), plan, MEDIA, |stage| {
        is_deaf(rebound(stage)).context("without restore")
    })
}

with_each_pbx!(agent_restarted);

/// The agent ends in a call, in order or killed, and another one starts. The phone hears the PBX all the time.
fn agent_restarted(release: Release) -> Result<()> {
    const KEEP: [&str; 2] = ["--keep", "--media"];
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        let _asterisk = Asterisk::start(&lab.pbx, release, Options::default())?;
        let sipnat = Sipnat::start(&lab.pbx, &KEEP)?;
        let talker = Talker::start(lab.phone(), "1000", HERE)?;
        let call = talker.calls(ECHO)?;
        talker.hears(HERE)?;
        sipnat.end(signal)?;
        talker.hears(HERE).context("without an agent")?;
        let sipnat = Sipnat::start(&lab.pbx, &KEEP)?;
        talker.hears(HERE).context("with another agent")?;
        call.hangs_up()?;
        sipnat.stop()?;
    }
    Ok(())
}

with_each_pbx!(guarded);

/// The guard drops what a stranger sends to the port of a call, and nothing of the call.
fn guarded(release: Release) -> Result<()> {
    play(
        release,
        Options::default(),
        Plan::PLAIN_NAT,
        DROP,
        |stage| {
            let talker = stage.talker()?;
            let call = talker.calls(ECHO)?;
            talker.hears(HERE)?;
            call.reinvites("sendonly")?;
            call.reinvites("sendrecv")?;
            talker.hears(HERE)?;
            ensure!(stage.scene.count("media_dropped")? == 0, "dropped");
            let stranger = SocketAddrV4::new(*PUBLIC_PHONE.ip(), 30_000);
            let stranger = stage.scene.lab.public_phone.udp(stranger)?;
            let audio = call.audio.context("no audio")?;
            for _ in 0..50 {
                stranger.send_to(&[0x80; 172], audio)?;
            }
            talker.hears(HERE)?;
            let dropped = stage.scene.count("media_dropped")?;
            ensure!(dropped == 50, "{dropped} dropped");
            call.hangs_up()
        },
    )
}

/// Length of a talk of real phones.
const TALK: Duration = Duration::from_secs(3);

with_each_pbx!(baresip_and_pjsua2);

/// Two real phones at two sites talk through the PBX.
fn baresip_and_pjsua2(release: Release) -> Result<()> {
    for with in [MEDIA, With::Sipnat] {
        play(release, Options::default(), TWO_SITES, with, |stage| {
            let lab = stage.scene.lab;
            let mut there = Pjsua2::start_speaking(&lab.sites[1].phones[0], "2000", THERE)?;
            there.wait_for("registration 200", SOON)?;
            let uri = format!("sip:2000@{}", PBX.ip());
            let mut here = Baresip::start_speaking(lab.phone(), "1000", HERE, &uri)?;
            here.wait_for("Call established", SOON)?;
            thread::sleep(TALK);
            stage.asterisk.hang_up()?;
            here.wait_for("session closed", SOON)?;
            there.wait_for("call DISCONN", SOON)?;
            hear_each_other(with, || [here.heard(), there.heard()])
        })?;
    }
    Ok(())
}

with_each_pbx!(linphone_and_twinkle);

/// Two more real phones at two sites talk through the PBX.
fn linphone_and_twinkle(release: Release) -> Result<()> {
    for with in [MEDIA, With::Sipnat] {
        play(release, Options::default(), TWO_SITES, with, |stage| {
            let lab = stage.scene.lab;
            let mut there = Twinkle::start_speaking(&lab.sites[1].phones[0], "2000", THERE)?;
            there.wait_ready(SOON)?;
            let mut here = Linphone::start_speaking(lab.phone(), "1000", HERE)?;
            here.wait_ready(SOON)?;
            here.call(&format!("sip:2000@{}", PBX.ip()))?;
            here.wait_for("Media streams established", SOON)?;
            thread::sleep(TALK);
            stage.asterisk.hang_up()?;
            here.wait_for(" ended ", SOON)?;
            there.wait_for("far end ended call", SOON)?;
            hear_each_other(with, || [here.heard(), there.heard()])
        })?;
    }
    Ok(())
}

/// Fails unless the phones at [`HERE`] and [`THERE`] have heard each other's tone, or without media nothing. They write the ends
/// of their recordings a moment after the call.
fn hear_each_other(with: With, heard: impl Fn() -> [Result<(Vec<i16>, u32)>; 2]) -> Result<()> {
    let clearest = |heard: Result<(Vec<i16>, u32)>, hertz| {
        heard.map_or(0.0, |(sound, rate)| audio::clearest(&sound, rate, hertz))
    };
    let until = Instant::now() + SOON;
    loop {
        let [here, there] = heard();
        let shares = [clearest(here, THERE), clearest(there, HERE)];
        if with != MEDIA {
            ensure!(shares == [0.0; 2], "without media they hear {shares:?}");
            return Ok(());
        }
        if shares.iter().all(|share| *share > 0.9) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "they hear {shares:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

with_each_pbx!(symmetric);

/// A PBX that sends audio to where it comes from needs no `--media`, which does not disturb it.
fn symmetric(release: Release) -> Result<()> {
    let phones = if release.is_chan_sip() {
        "nat=force_rport,comedia"
    } else {
        "rtp_symmetric=yes"
    };
    let options = Options {
        phones,
        ..Options::default()
    };
    for with in [With::Sipnat, MEDIA, RESTORE] {
        play(release, options, Plan::PLAIN_NAT, with, |stage| {
            let talker = stage.talker()?;
            let call = talker.calls(ECHO)?;
            talker.hears(HERE)?;
            call.hangs_up()
        })
        .with_context(|| format!("{with:?}"))?;
    }
    Ok(())
}

with_each_pbx!(direct_media);

/// Asterisk leaves the media to the phones, by its default. They cannot reach each other, and `status` names the remedy.
fn direct_media(release: Release) -> Result<()> {
    let options = Options {
        direct_media: true,
        ..Options::default()
    };
    play(release, options, TWO_SITES, MEDIA, |stage| {
        let here = stage.registered_talker(0, 0, "1000", HERE)?;
        let there = stage.registered_talker(1, 0, "2000", THERE)?;
        let invite = here.phone.invites("2000")?;
        let answering = there.phone.answers()?;
        let calling = here.phone.is_answered(&invite)?;
        for call in [&answering, &calling] {
            call.hears("INVITE")?;
        }
        let status = stage.scene.sipnat()?.json(&["status"])?;
        let warnings = status["warnings"].as_array().context("no warnings")?;
        let text = warnings.iter().map(ToString::to_string).collect::<String>();
        ensure!(
            text.contains("names 192.168.1.10 for its media") && text.contains("direct_media"),
            "{status:#}"
        );
        calling.hangs_up()
    })
}
