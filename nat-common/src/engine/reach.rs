//! Reach: which of two addresses a packet goes to, the learned one or the original destination.
//!
//! Where they differ, proof decides ([`proof`](super::proof)). Without proof, the original destination comes first, unless
//! it cannot be reached from here, or the terminal is known to get what is sent to its learned address.

use crate::abi::{BindingFlags, Ground, PeerFlags, Policy, SECOND, address};
use crate::bpf::sign;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::env::Env;
use crate::engine::proof::{
    NOBODY, PATIENCE, Ping, describe, describe_pair, has_answered, is_taken, pair, ping_before,
    resident, unanswered,
};
use crate::engine::verdict::{Choice, Decision};
use crate::sip::Method;

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
    /// The last of them went to the learned address.
    pub(super) redirected: bool,
}

/// Bits beside the number of transmissions that [`choose`] takes: [`Redirect::proven`], a response, an ACK,
/// [`Redirect::redirected`], and a request to the contact in the draft. A request without the last one belongs to a dialog. For a
/// response and an ACK, unanswered requests do not count.
const PROVEN: u32 = 1 << 8;
const RESPONSE: u32 = 1 << 9;
const ACK: u32 = 1 << 10;
const REDIRECTED: u32 = 1 << 11;
const CONTACT: u32 = 1 << 12;

/// Decides whether a packet to `to` goes to `learned` instead.
#[inline(always)]
pub(super) fn decide<E: Env>(
    env: &E,
    learned: &Endpoint,
    to: &mut Endpoint,
    redirect: &Redirect,
) -> Decision {
    let policy = match permit(env, learned, to, redirect.direct) {
        Ok(policy) => policy,
        Err(decision) => return decision,
    };
    let choice = if policy == Policy::Force {
        env.record().ground = Ground::Forced as u8;
        Choice::Learned
    } else if env.shadow() {
        Choice::Learned
    } else {
        let mut bits = u32::from(redirect.transmissions);
        if redirect.proven {
            bits |= PROVEN;
        }
        if redirect.decision == Decision::RedirectedResponse {
            bits |= RESPONSE;
        }
        if redirect.decision == Decision::RedirectedContact {
            bits |= CONTACT;
        }
        if env.record().method == Method::Ack as u8 {
            bits |= ACK;
        }
        if redirect.redirected {
            bits |= REDIRECTED;
        }
        env.choose(redirect.owner, bits)
    };
    carry_out(choice, learned, to, redirect.decision)
}

/// Returns the decision that a choice makes. `to` becomes the learned address if that was chosen.
#[inline(always)]
pub(super) fn carry_out(
    choice: Choice,
    learned: &Endpoint,
    to: &mut Endpoint,
    redirected: Decision,
) -> Decision {
    match choice {
        Choice::Original => Decision::OriginalFirst,
        Choice::LeftAlone => Decision::LeftAlone,
        Choice::Unanswered => Decision::Unanswered,
        Choice::Taken => Decision::Taken,
        Choice::Learned => {
            words::assign(to, learned);
            redirected
        }
    }
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

/// Chooses between the learned address and the original destination of the record. `transmissions` were sent before this
/// one, since the last answer; beside that number lie a bit for a terminal that is proven in its dialog, one for a response,
/// one for an ACK, one if the last of them went to the learned address, and one for a request to the contact in the draft.
#[inline(always)]
pub fn choose<E: Env>(env: &E, owner: u64, transmissions: u32) -> Choice {
    let record = env.record();
    let (learned, to) = (&record.learned(), &record.original());
    if transmissions & CONTACT != 0 && is_taken(env, env.draft()) {
        return Choice::Taken;
    }
    let same_host = learned.addr == to.addr;
    if !same_host && is_unreachable(env, learned, to) {
        env.record().ground = Ground::Unreachable as u8;
        return Choice::Learned;
    }
    let (known, answers, mut overdue) = match pair(env, &describe_pair(env, learned, to).value) {
        Some(pair) => (
            pair.value.flags,
            pair.value.strikes != 0,
            unanswered(env, pair, transmissions as u8 != 0),
        ),
        None => (PeerFlags::empty(), false, 0),
    };
    let may_begin = same_host && !known.contains(PeerFlags::DEAF);
    let original = &describe(env, to).value;
    let (ground, at_learned) = if known.contains(PeerFlags::PROVEN | PeerFlags::SEEMING) {
        (Ground::Seems, true)
    } else if known.contains(PeerFlags::PROVEN) {
        (Ground::Proven, true)
    } else if answers || owner != 0 && has_answered(env, original, owner) {
        (Ground::Answers, false)
    } else if may_begin && transmissions & PROVEN != 0 {
        // What is overdue was sent before this dialog, or when the original destination came first.
        overdue = 0;
        (Ground::Progress, true)
    } else if may_begin && owner != 0 && is_anothers(resident(env, original), owner) {
        (Ground::Occupied, true)
    } else {
        (Ground::First, false)
    };
    // In a dialog with a carrier whose Contact is another host, nothing is overdue: the host that called may refuse what the other waits
    // for, and so end a call that goes on there. By arithmetic: the verifier would follow each of two ways to the end.
    let outside = sign(i64::from(transmissions) << (32 + CONTACT.leading_zeros())) as u8;
    overdue *= outside | u8::from(same_host) | u8::from(at_learned);
    let mut count = transmissions as u8;
    let mut patient = is_patient(ground);
    if transmissions & (RESPONSE | ACK) == 0 {
        // Nor may one lost packet bring a request to the host that called: another host has two transmissions, too.
        patient |= matches!(ground, Ground::First) && !same_host && outside == 0;
        if count == 0 {
            count = overdue;
        } else if !patient {
            // Several requests to one terminal share what is overdue. Each of them takes turns by itself.
            let other = at_learned == (transmissions & REDIRECTED != 0);
            if other == count.is_multiple_of(2) {
                count = count.saturating_add(1);
            }
        }
    }
    take_turns(env, ground, at_learned, patient, count)
}

/// Returns a count of earlier transmissions for a message whose transaction a flood has pushed out.
///
/// It may be the first one or a repetition, so the time chooses its address. The choice changes each T1 and each T2.
/// The first repetition comes T1 after the first transmission, and mostly goes to the other address. Two that come T2 apart
/// (RFC 3261 13.3.1.4, 17.1.1.2, 17.1.2.2) go to different ones, even if the first one came before the flood, or if they are late.
#[inline(always)]
pub(super) const fn turn_by_time(now: u64) -> u8 {
    if (now / (SECOND / 2) + now / (4 * SECOND)).is_multiple_of(2) {
        0
    } else {
        // Not 1: that would disprove what is known of the learned address.
        3
    }
}

/// Whether the address that the ground prefers has several transmissions before the other one has its first ([`PATIENCE`]).
#[inline(always)]
const fn is_patient(ground: Ground) -> bool {
    matches!(ground, Ground::Proven | Ground::Answers)
}

/// Chooses the destination that the ground prefers, or the other one if earlier transmissions drew no answer: one, or several
/// if `patient`.
#[inline(always)]
pub(super) fn take_turns<E: Env>(
    env: &E,
    ground: Ground,
    at_learned: bool,
    patient: bool,
    transmissions: u8,
) -> Choice {
    let other = if patient {
        transmissions >= PATIENCE && transmissions.is_multiple_of(2)
    } else {
        !transmissions.is_multiple_of(2)
    };
    let record = env.record();
    record.transmission = transmissions.saturating_add(1);
    record.ground = if other { Ground::Turn } else { ground } as u8;
    match (at_learned, other) {
        (true, false) | (false, true) => Choice::Learned,
        (true, true) => Choice::Unanswered,
        (false, false) if matches!(ground, Ground::Answers) => Choice::LeftAlone,
        (false, false) => Choice::Original,
    }
}

/// Chooses between the learned address of the contact in the draft and the original destination of the record, for a request
/// that only the Contact URI names. `transmissions` of it were sent before this one. The original destination comes first,
/// until a request that it did not answer was answered at the learned address.
///
/// A PBX may send an OPTIONS once, and another one some seconds later. Of these, the two addresses take turns, until one is
/// answered. That says nothing of calls: a host may answer calls, and no OPTIONS.
#[inline(always)]
pub fn choose_by_uri<E: Env>(env: &E, transmissions: u32) -> Choice {
    let transmissions = transmissions as u8;
    if env.draft().flags.contains(BindingFlags::WEAK) {
        let (learned, to) = (&env.draft().learned, &env.record().original());
        let known = match pair(env, &describe_pair(env, learned, to).value) {
            Some(pair) => pair.value.flags,
            None => PeerFlags::empty(),
        };
        // If nobody can be at the original destination, no answer was one to a transmission that went there.
        if known.contains(PeerFlags::HEARS) || is_unreachable(env, learned, to) {
            return take_turns(env, Ground::Proven, true, true, transmissions);
        }
        if !known.contains(PeerFlags::DEAF) {
            return take_turns(env, Ground::Seems, true, false, transmissions);
        }
    }
    if transmissions == 0 && env.record().method == Method::Options as u8 {
        match ping_before(env, env.route().subject) {
            Ping::None => {}
            Ping::Unanswered => return take_turns(env, Ground::First, false, false, 1),
            Ping::Answered => return take_turns(env, Ground::Proven, true, true, 0),
        }
    }
    take_turns(env, Ground::First, false, false, transmissions)
}

/// Whether the original destination cannot be reached from here: the Internet does not route it, it shares no private network with
/// the terminal's learned address, and no route but the default leads there.
#[inline(always)]
fn is_unreachable<E: Env>(env: &E, learned: &Endpoint, to: &Endpoint) -> bool {
    to.is_private() && !to.shares_private_network(learned) && env.kind_of(to) == 0
}

/// Whether a request that only a Contact URI names may be redirected to the contact in the draft: another account may have
/// registered that URI.
///
/// - The packet goes to the advertised address, and that shows what NAT does: it is the learned address with another port,
///   or one that the Internet does not route.
/// - The contact's user is its owner's, or sipnat has run so long that each owner has registered.
/// - The original destination is neither this host, nor on link, nor routed, nor the user's peer.
/// - It has not answered by itself, and is not the address of another terminal, unless that is on the same host.
/// - No other terminal has registered from the learned address since.
#[inline(always)]
pub fn may_follow_uri<E: Env>(env: &E) -> bool {
    let contact = env.draft();
    let to = &env.record().original();
    let same_host = contact.learned.addr == to.addr;
    let shows_nat = *to == contact.advertised && (same_host || to.is_private());
    let trusted = contact.flags.contains(BindingFlags::OWN_USER) || env.settled();
    let kind = env.kind_of(to);
    // Of a public address of the terminal's own, a route says nothing.
    let reachable = if same_host {
        kind & !address::ROUTED
    } else {
        kind
    };
    if !shows_nat || !trusted || reachable != 0 {
        return false;
    }
    let original = &describe(env, to).value;
    !has_answered(env, original, 0)
        && (same_host || !is_anothers(resident(env, original), contact.aor))
        && !is_taken(env, contact)
}

/// Whether an address is that of another terminal than the owner's.
#[inline(always)]
const fn is_anothers(resident: u64, owner: u64) -> bool {
    resident != NOBODY && resident != owner
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Responses to two copies that come T1 apart mostly go to different addresses, and those to two that come T2 apart always.
    #[test]
    fn time_chooses_another_address_after_t1_and_after_t2() {
        let tenths = || (0..4000_u32).map(u64::from);
        let total = tenths().len();
        let at = |tenth: u64| turn_by_time(tenth * SECOND / 10);
        assert!(tenths().all(|now| at(now) != at(now + 40)));
        let others = tenths().filter(|now| at(*now) != at(now + 5)).count();
        assert!(others * 8 >= total * 7, "{others} of {total}");
    }
}
