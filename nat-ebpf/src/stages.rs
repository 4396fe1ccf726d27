//! Stages that both directions share.

use nat_common::abi::Config;
use nat_common::bpf::Repeat;
use nat_common::bytes::Source as _;
use nat_common::datagram::{DatagramKind, Part, classify};
use nat_common::engine::verdict::Skip;
use nat_common::sip::{Direction, Doubt};

use crate::datagram::{Payload, parse};
use crate::fast_reject::is_stun_port;
use crate::frame::{Frame, Hook};
use crate::maps::config;
use crate::scratch::Scratch;

/// Content of a frame.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    /// A datagram that may be a SIP message.
    Sip,
    /// A STUN message.
    Stun,
    /// A fragment after the first, of any UDP datagram.
    LaterFragment,
    /// No message of SIP or STUN for or from the PBX.
    Skipped(Skip),
}

/// First stage: finds the datagram in the frame, and leaves it in scratch.
#[inline(never)]
pub(crate) fn find<H: Hook>(frame: Frame<H::Context>, scratch: &Scratch, config: &Config) -> Found {
    if let Err(skip) = parse(frame, scratch.new_datagram()) {
        return Found::Skipped(skip);
    }
    scratch.reset_destination();
    let datagram = scratch.datagram();
    if datagram.part == Part::Later {
        return Found::LaterFragment;
    }
    let ours = match H::DIRECTION {
        Direction::In => &datagram.destination,
        Direction::Out => &datagram.source,
    };
    let sip = config.has_port(ours.port);
    if !sip && !is_stun_port::<H>(config, ours.port) {
        return Found::Skipped(Skip::OtherPort);
    }
    let payload = Payload::of(datagram, frame);
    match classify(payload.len(), payload.word(0)) {
        DatagramKind::Stun => return Found::Stun,
        _ if !sip => return Found::Skipped(Skip::OtherPort),
        DatagramKind::Sip => {}
        DatagramKind::Keepalive => return Found::Skipped(Skip::Keepalive),
        DatagramKind::Other => return Found::Skipped(Skip::NotSip),
    }
    if let Direction::In = H::DIRECTION
        && !datagram.source.is_unicast()
    {
        return Found::Skipped(Skip::BadSource);
    }
    if config.only_pbxs != 0 && is_of_pbx(H::DIRECTION as u32) == 0 {
        return Found::Skipped(Skip::OtherHost);
    }
    Found::Sip
}

/// Whether the datagram in the scratch of a direction is to or from the PBX. Not 0: it is. Verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_of_pbx(direction: u32) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), config()) else {
        return 0;
    };
    config.is_pbx(scratch.socket()).into()
}

/// Second stage: copies the message, and scans it.
#[inline(never)]
pub(crate) fn read<H: Hook, L: Repeat>(
    frame: Frame<H::Context>,
    scratch: &Scratch,
) -> Result<(), Doubt> {
    let payload = Payload::of(scratch.datagram(), frame);
    scratch.new_text().copy::<_, L>(&payload);
    scratch.scan::<L>(H::DIRECTION)
}
