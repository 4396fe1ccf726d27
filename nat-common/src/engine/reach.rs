//! Reach: which of two addresses a packet goes to, the learned one or the original destination.
//!
//! Where they differ, proof decides ([`proof`](super::proof)). Without proof, the original destination comes first, unless
//! it cannot be reached from here, or the terminal is known to get what is sent to its learned address.

use crate::abi::{Binding, BindingFlags, Ground, Policy};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::env::Env;
use crate::engine::proof::{answerer, is_proven, pair, resident};
use crate::engine::verdict::Decision;

/// Transmissions to a proven destination before the other one is tried. A PBX that gives up after three reaches both.
const PATIENCE: u8 = 2;

/// Redirect that is considered.
pub(super) struct Redirect {
    /// Decision if the packet is redirected.
    pub(super) decision: Decision,
    /// No other proxy stands between this host and the terminal.
    pub(super) direct: bool,
    /// The terminal has shown in this dialog that it gets what is sent to its learned address.
    pub(super) proven: bool,
    /// Hash of the terminal's address-of-record; 0 if unknown.
    pub(super) owner: u64,
    /// Transmissions before this one, since the last answer.
    pub(super) transmissions: u8,
}

/// Decides whether a packet to `to` goes to `learned` instead.
#[inline(never)]
pub(super) fn decide<E: Env>(
    env: &E,
    learned: &Endpoint,
    to: &mut Endpoint,
    redirect: &Redirect,
) -> Decision {
    let decision = match permit(env, learned, to, redirect.direct) {
        Ok(Policy::Auto) if !env.shadow() => choose(env, learned, to, redirect),
        Ok(policy) => {
            if policy == Policy::Force {
                env.record().ground = Ground::Forced as u8;
            }
            redirect.decision
        }
        Err(decision) => decision,
    };
    if decision == redirect.decision {
        words::assign(to, learned);
    }
    decision
}

/// Returns the policy for a redirect, or the decision if there is nothing to choose.
#[inline(always)]
pub(super) fn permit<E: Env>(
    env: &E,
    learned: &Endpoint,
    to: &Endpoint,
    direct: bool,
) -> Result<Policy, Decision> {
    env.record().set_learned(learned);
    if learned == to {
        return Err(Decision::AlreadyThere);
    }
    if learned.is_v4() != to.is_v4() {
        return Err(Decision::OtherFamily);
    }
    match env.policy(learned) {
        Policy::Off => Err(Decision::PolicyOff),
        Policy::Auto if !direct => Err(Decision::NotDirect),
        policy => Ok(policy),
    }
}

/// Chooses between the learned address and the original destination.
#[inline(always)]
fn choose<E: Env>(env: &E, learned: &Endpoint, to: &Endpoint, redirect: &Redirect) -> Decision {
    let same_host = learned.addr == to.addr;
    if !same_host && is_unreachable(env, learned, to) {
        env.record().ground = Ground::Unreachable as u8;
        return redirect.decision;
    }
    let known = pair(env, learned, to);
    let proven = known.as_ref().is_some_and(|known| is_proven(env, known));
    let unanswered = known.map_or(0, |known| known.value.unanswered);
    let transmissions = if unanswered > redirect.transmissions {
        unanswered
    } else {
        redirect.transmissions
    };
    let (ground, at_learned) = if proven {
        (Ground::Proven, true)
    } else if redirect.owner != 0 && answerer(env, to) == Some(redirect.owner) {
        (Ground::Answers, false)
    } else if same_host && redirect.proven {
        (Ground::Progress, true)
    } else if same_host && resident(env, to).is_some_and(|owner| owner != redirect.owner) {
        (Ground::Occupied, true)
    } else {
        (Ground::First, false)
    };
    take_turns(env, ground, at_learned, transmissions, redirect.decision)
}

/// Decides for the destination that the ground prefers, or for the other one if earlier transmissions drew no answer.
#[inline(always)]
pub(super) fn take_turns<E: Env>(
    env: &E,
    ground: Ground,
    at_learned: bool,
    transmissions: u8,
    redirected: Decision,
) -> Decision {
    let proven = matches!(ground, Ground::Proven | Ground::Answers);
    let other = if proven {
        transmissions >= PATIENCE && transmissions.is_multiple_of(2)
    } else {
        !transmissions.is_multiple_of(2)
    };
    let record = env.record();
    record.transmission = transmissions.saturating_add(1);
    record.ground = if other { Ground::Turn } else { ground } as u8;
    match (at_learned, other) {
        (true, false) | (false, true) => redirected,
        (true, true) => Decision::Unanswered,
        (false, false) if matches!(ground, Ground::Answers) => Decision::LeftAlone,
        (false, false) => Decision::OriginalFirst,
    }
}

/// Whether the original destination cannot be reached from here: the Internet does not route it, it does not lie in the
/// same private network as the terminal's learned address, and no route but the default leads there.
#[inline(always)]
fn is_unreachable<E: Env>(env: &E, learned: &Endpoint, to: &Endpoint) -> bool {
    to.is_private() && !to.shares_private_network(learned) && env.kind_of(to) == 0
}

/// Whether a request that only a Contact URI names may be redirected: another account may have registered that URI.
///
/// - The contact's user is its owner's, or sipnat has run so long that each owner has registered.
/// - The original destination is neither this host, nor on link, nor routed, nor the user's peer.
/// - It has not answered by itself, and is not the address of another terminal, unless that is on the same host.
#[inline(never)]
pub(super) fn may_follow_uri<E: Env>(env: &E, contact: &Binding, to: &Endpoint) -> bool {
    let trusted = contact.flags.contains(BindingFlags::OWN_USER) || env.settled();
    if !trusted || env.kind_of(to) != 0 || answerer(env, to).is_some() {
        return false;
    }
    contact.learned.addr == to.addr
        || resident(env, to).is_none_or(|resident| resident == contact.aor)
}
