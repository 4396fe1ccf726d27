//! Other software on the same messages.

use anyhow::Result;
use nat_userspace::{
    kernel::load::Loader,
    settings::{Settings, Sizes},
};

use crate::{
    alg,
    feed::{self, Feed},
    kamailio, machine, program,
    report::{Figure, Goal, Part},
};

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "peers",
        "CPU time, with another message in each packet. A router: its core's time for an INVITE of about 590 bytes that it \
         forwards, and what is added to that by what it does besides. A proxy: the time of Kamailio's processes and of \
         receiving for them, for each request and its response, where sipnat has one message in and one out; what is \
         relayed is answered 200 (OK). Sipnat beside it as in `program`.",
    );
    part.note(
        "datagrams have no UDP checksum, which the ALG would have to correct, and connections are soon forgotten",
    );
    let mut feed = Feed::load()?;
    alg::measure(&mut part, &mut feed)?;
    let relayed = kamailio::measure(&mut part, &mut feed)?;

    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let sizes = Sizes {
        bindings: 1 << 14,
        ..Sizes::default()
    };
    let settings = Settings {
        sizes,
        ..Settings::default()
    };
    let mut path = part.load(Loader::new(&feed::sipnat()?, &settings))?;
    let picks = 1 << 10;
    program::fill(&mut feed, &mut path, picks)?;
    let mut sipnat = 0.0;
    for case in [
        program::invites("64k slots", 590, false),
        program::reinvites("64k slots"),
    ] {
        let figure = case.measure(&mut feed, &mut path, picks)?;
        sipnat += figure.median();
        part.add(figure);
    }
    for (what, time) in relayed {
        part.add(
            Figure::new(
                format!("{what}, to an INVITE in and a re-INVITE out through sipnat"),
                time / sipnat,
                "times",
            )
            .goal(Goal::at_least(150.0, 300.0)),
        );
    }
    Ok(part)
}
