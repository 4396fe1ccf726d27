//! Rules that each packet of the PBX is checked against.

use nat_common::abi::{Ground, SECOND};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Journal as _;
use nat_common::engine::verdict::Decision;

use super::actor::Actor;
use super::input::TrunkKind;
use super::sip::{Place, Sip};
use super::terminal::is_secret;
use super::world::{Answered, Proof, Purpose, World, key};

/// Time within which an answer tells which of two transmissions it answers.
const T1: u64 = SECOND / 2;

/// Transmissions in a row that may miss a terminal that can be reached.
const PATIENCE: u32 = 2;

/// Time for which an answer at the original destination counts.
const DAY: u64 = 24 * 3600 * SECOND;

/// Time for which a proof counts.
const PROOF: u64 = 12 * 3600 * SECOND;

impl World {
    /// Checks a packet of the PBX that goes `to` an address, where `receiver` takes it.
    pub(super) fn judge(
        &mut self,
        original: Endpoint,
        purpose: Purpose,
        sip: &Sip,
        decision: Decision,
        to: Endpoint,
        receiver: Option<Actor>,
    ) {
        if sip.status == 0 && sip.to.tag != 0 && self.is_known(sip) {
            return;
        }
        match purpose {
            Purpose::Request(at) => self.judge_request(at, original, decision, to, receiver),
            Purpose::Follow(at) => {
                let client = &self.pbx.clients[at];
                if !client.taken && client.origin.is_none_or(Actor::is_honest) {
                    self.judge_target(client.meant, original, to);
                }
            }
            Purpose::Ack(meant, holds) => {
                if holds {
                    self.judge_target(meant, original, to);
                }
            }
            Purpose::Response(at) => self.judge_response(at, original, sip, decision, to, receiver),
            Purpose::Foreign => {}
        }
    }

    /// Whether attackers know both tags of a dialog: then they are a party of it, with sipnat or without.
    fn is_known(&self, sip: &Sip) -> bool {
        let known = |tag| !is_secret(tag) || self.learned_tags.contains(&tag);
        known(sip.from.tag) && known(sip.to.tag)
    }

    /// Nothing that is meant for an honest terminal goes to an address that is not its own, but to where the PBX sent it.
    fn judge_target(&mut self, meant: Option<Actor>, original: Endpoint, to: Endpoint) {
        if let Some(meant) = meant.filter(|meant| meant.is_honest())
            && to != original
            && !self.setup.owns(meant, &to)
        {
            let (to, original) = (Place(&to), Place(&original));
            self.fail(format!(
                "a packet meant for {meant:?} goes to {to}, which is not its address; without sipnat it goes to {original}"
            ));
        }
    }

    fn judge_request(
        &mut self,
        at: usize,
        original: Endpoint,
        decision: Decision,
        to: Endpoint,
        receiver: Option<Actor>,
    ) {
        let (now, learned) = (self.now(), self.env.record().learned());
        let client = &mut self.pbx.clients[at];
        client.sent_to = to;
        client.learned = learned;
        let Some(meant) = client.meant.filter(|meant| meant.is_honest()) else {
            return;
        };
        let (weak, first, in_dialog) = (
            client.weak,
            client.transmissions == 1,
            client.request.to.tag != 0,
        );
        if client.taken || client.origin.is_some_and(|origin| !origin.is_honest()) {
            return;
        }
        let arrives = receiver == Some(meant);
        client.missed = if arrives { 0 } else { client.missed + 1 };
        let missed = client.missed;
        let arrives_alone = self.listener(&original, false) == Some(meant);
        if !self.is_silent_trunk(meant, weak, first) {
            self.judge_target(Some(meant), original, to);
        }
        let pair = (meant, key(&learned), key(&original), weak);
        let unanswered = self.watch.unanswered.entry(pair).or_default();
        *unanswered += 1;
        let unanswered = *unanswered;
        let occupied = self.env.record().ground == Ground::Occupied as u8;
        if arrives_alone && !arrives && unanswered == 1 && !occupied {
            let to = Place(&to);
            self.fail(format!(
                "{meant:?} gets the first transmission without sipnat; with it, {to} gets it"
            ));
        }
        if arrives_alone && missed > PATIENCE {
            self.fail(format!(
                "{meant:?} gets every transmission without sipnat; with it, it missed {missed}"
            ));
        }
        let answered = self.watch.answered.get(&(meant, key(&original)));
        if answered.is_some_and(|answered| answered.by_contact && now < answered.at + DAY)
            && !weak
            && !in_dialog
            && unanswered <= PATIENCE
            && to != original
        {
            self.fail(format!(
                "{meant:?} has answered by itself; transmission {unanswered} does not go there"
            ));
        }
        if let Some(proof) = self.watch.proof.filter(|proof| {
            (meant, proof.original) == (Actor::Victim, original) && now < proof.at + PROOF
        }) && (unanswered, proof.learned, learned)
            == (1, self.source(Actor::Victim), proof.learned)
            && proof.strikes <= 1
            && self.watch.knows_victim
            && !weak
            && !in_dialog
            && to != proof.learned
        {
            let strikes = proof.strikes;
            self.fail(format!(
                "the victim has answered at its learned address, and somebody else {strikes} times elsewhere: \
                 the first transmission does not go to it [{decision:?}]"
            ));
        }
    }

    /// Whether a call to a trunk may go elsewhere: nothing shows that it is there (see the limits in the module's text).
    fn is_silent_trunk(&self, meant: Actor, weak: bool, first: bool) -> bool {
        let original = self.setup.source(Actor::Trunk, 0);
        let answered = self.watch.answered.get(&(Actor::Trunk, key(&original)));
        meant == Actor::Trunk
            && weak
            && !first
            && matches!(self.setup.trunk, TrunkKind::Public | TrunkKind::Private)
            && answered.is_none_or(|answered| self.now() >= answered.at + DAY)
    }

    fn judge_response(
        &mut self,
        at: usize,
        original: Endpoint,
        sip: &Sip,
        decision: Decision,
        to: Endpoint,
        receiver: Option<Actor>,
    ) {
        let server = &mut self.pbx.servers[at];
        let (meant, source) = (server.by, server.source);
        server.sent += 1;
        if !meant.is_honest() {
            return;
        }
        let unrepeated = server.repeats == 0;
        // F3
        if !server.repeats.is_multiple_of(2) {
            server.missed = 0;
        }
        let arrives = receiver == Some(meant);
        server.missed = if arrives { 0 } else { server.missed + 1 };
        let missed = server.missed;
        let arrives_alone = self.listener(&original, true) == Some(meant);
        self.judge_target(Some(meant), original, to);
        if arrives_alone && !arrives && unrepeated {
            self.fail(format!(
                "{meant:?} gets the first response without sipnat; with it, {} gets it",
                Place(&to)
            ));
        }
        if arrives_alone && missed > PATIENCE {
            self.fail(format!(
                "{meant:?} gets every response without sipnat; with it, it missed {missed} of {}",
                Place(&source)
            ));
        }
        if meant == Actor::Victim && sip.method == "REGISTER" && sip.status == 200 {
            self.watch.knows_victim = decision != Decision::Disputed;
        }
    }

    /// Notes that the PBX took a response to a request.
    pub(super) fn note_answer(&mut self, at: usize, by: Actor, source: Endpoint, status: u16) {
        let now = self.now();
        let client = &self.pbx.clients[at];
        let (meant, original, learned) = (client.meant, client.to, client.learned);
        let prompt = client.transmissions == 1 || now < client.sent_at + T1;
        let (redirected, weak) = (client.sent_to != original, client.weak);
        let by_contact = client.request.to.tag == 0 && !weak;
        let Some(meant) = meant else {
            return;
        };
        let pair = (meant, key(&learned), key(&original), weak);
        if by != meant {
            self.watch.somebody_answered |= meant == Actor::Victim && source.addr == original.addr;
            if let Some(proof) = &mut self.watch.proof
                && (meant, proof.original) == (Actor::Victim, original)
            {
                proof.strikes += 1;
                if prompt && source == original {
                    self.watch.unanswered.remove(&pair);
                }
            }
            return;
        }
        // A refusal at the original destination may be another terminal's.
        if !prompt || !redirected && !(101..300).contains(&status) {
            return;
        }
        self.watch.unanswered.remove(&pair);
        if redirected {
            if meant == Actor::Victim && !weak && source == learned {
                self.watch.proof = Some(Proof {
                    learned,
                    original,
                    at: now,
                    strikes: 0,
                });
            }
        } else {
            let answered = Answered {
                at: now,
                by_contact: by_contact && learned != original && !learned.is_unknown(),
            };
            self.watch
                .answered
                .insert((meant, key(&original)), answered);
        }
    }
}
