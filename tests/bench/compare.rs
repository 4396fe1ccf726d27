//! Two objects of kernel programs, compared: short runs of both in turns, so that whatever else the machine does meets both.
//!
//! A low percentile is compared: it is the time of a run that nothing has disturbed. So small differences show on a machine that
//! others use, too.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nat_userspace::{
    kernel::load::{DataPath, Loader},
    settings::Settings,
};

use crate::{
    feed::{self, Direction, Feed, Order},
    machine, media,
    messages::MACS,
    program::{self, Case},
    report::{Figure, Part, Spread},
};

/// Runs in a turn.
const RUNS: u32 = 4000;
/// Turns of each object.
const TURNS: usize = 80;

/// Compares the object to measure with another one of the same layout.
pub(crate) fn bench(against: Option<&Path>) -> Result<Part> {
    let against = against.context("name an object to compare with: --against FILE")?;
    let mut part = Part::new(
        "compare",
        "Nanoseconds above an empty program, by BPF_PROG_TEST_RUN. Each row: what the other object takes at its tenth \
         percentile, and this one; the ratio is that of this one to the other.",
    );
    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let other = fs::read(against).with_context(|| format!("cannot read {}", against.display()))?;
    let objects = [&other, &*feed::sipnat()?];
    let mut feed = Feed::load()?;
    for (tables, settings, picks) in [
        ("64k slots", program::sizes(1 << 16, 1 << 14), 1 << 10),
        ("1M slots", program::sizes(1 << 20, 1 << 20), 1 << 20),
    ] {
        let cases = [
            program::invites(tables, 590, false),
            program::reinvites(tables),
        ];
        messages(&mut part, &mut feed, objects, &settings, picks, &cases)?;
    }
    for (what, media) in [
        ("with a description, without --media", false),
        ("with a description, with --media", true),
    ] {
        let settings = media::with_media(media, 1);
        let cases = [program::invites(what, 590, false), program::reinvites(what)];
        messages(&mut part, &mut feed, objects, &settings, 1 << 10, &cases)?;
    }
    for (streams, addresses) in media::SIZES {
        let settings = media::with_media(true, addresses);
        let own = media::own(addresses);
        let mut paths = Vec::new();
        for object in objects {
            let loader = Loader::new(object, &settings).addresses(own.clone());
            let path = part.load(loader)?;
            media::fill(&path, streams, addresses, MACS[1])?;
            paths.push(path);
        }
        for streams in media::cases(streams, addresses, 1.0) {
            compare(
                &mut part,
                &mut feed,
                &mut paths,
                &streams.case,
                streams.picks,
            )?;
        }
    }
    Ok(part)
}

/// Compares messages to and from so many known terminals.
fn messages(
    part: &mut Part,
    feed: &mut Feed,
    objects: [&[u8]; 2],
    settings: &Settings,
    picks: u32,
    cases: &[Case],
) -> Result<()> {
    let mut paths = Vec::new();
    for object in objects {
        let mut path = part.load(Loader::new(object, settings).addresses(media::own(1)))?;
        program::fill(feed, &mut path, picks)?;
        paths.push(path);
    }
    for case in cases {
        compare(part, feed, &mut paths, case, picks)?;
    }
    Ok(())
}

fn compare(
    part: &mut Part,
    feed: &mut Feed,
    paths: &mut [DataPath],
    case: &Case,
    picks: u32,
) -> Result<()> {
    feed.load_templates(&case.templates)?;
    let direction: Direction = case.direction;
    let mut empty = Vec::new();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        feed.hand_to_nobody(direction)?;
        empty.push(feed.run(direction, Order::Random, picks, RUNS)?);
        for (path, times) in paths.iter_mut().zip(&mut times) {
            feed.hand_to_sipnat(path, direction)?;
            times.push(feed.run(direction, Order::Random, picks, RUNS)?);
        }
    }
    let empty = Spread::of(empty).p10;
    let [other, this] = times.map(|times| Spread::of(times).p10 - empty);
    part.add(Figure::new(
        format!("{}: the other", case.what),
        other,
        "ns",
    ));
    part.add(Figure::new(case.what.clone(), this, "ns").ratio(this / other, "the other"));
    Ok(())
}
