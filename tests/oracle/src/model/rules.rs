//! Rules that each packet of the PBX is checked against.

use nat_common::abi::{Ground, SECOND};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Journal as _;
use nat_common::engine::verdict::Decision;

use super::actor::Actor;
use super::address::NAT_5060;
use super::input::{Mood, Registrar, TrunkKind};
use super::pbx::granted;
use super::sip::{Call, Contacts, PBX, Place, Sip, Tag};
use super::state::Dialog;
use super::terminal::{TRANSACTION, is_secret, registrant};
use super::world::{
    Answered, Claim, ClaimedPlace, Heard, Key, Proof, Purpose, Seems, Unanswered, World, key,
};

/// Time within which an answer tells which of two transmissions it answers.
const T1: u64 = SECOND / 2;

/// Time within which another request does not count: a little less than sipnat's, whose clock has ticks.
const GRACE: u64 = T1 - SECOND / 100;

/// Time for which two hosts that claim a contact are in doubt.
const CONTEST: u64 = 3600 * SECOND;

/// Transmissions in a row that may miss a terminal that can be reached.
const PATIENCE: u32 = 2;

/// Time for which sipnat keeps a dialog that it has not seen begin.
const EARLY: u64 = 300 * SECOND;

/// Time for which sipnat waits for an answer.
const RINGS: u64 = 300 * SECOND;

/// Time for which an answer at the original destination counts.
const DAY: u64 = 24 * 3600 * SECOND;

/// Time for which a proof counts.
const PROOF: u64 = 12 * 3600 * SECOND;

/// Whether a terminal gives a response of this status itself: it rings, answers, redirects, is busy, declines, or waits.
fn is_own(status: u16) -> bool {
    matches!(status, 101..400 | 480 | 486..=488 | 491 | 600 | 603)
}

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
        if sip.status == 0
            && (sip.to.tag != 0 && self.is_known(sip) && !self.is_untouched(purpose)
                || self.is_claimed(purpose)
                || self.is_subscribed(purpose, sip))
        {
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
                    self.judge_ack(meant, original, sip, receiver);
                }
            }
            Purpose::Response(at) => self.judge_response(at, original, sip, decision, to, receiver),
            Purpose::Stray | Purpose::Foreign => {}
        }
    }

    /// A request whose Route names another hop, and a response that another proxy waits for, go there.
    pub(super) fn judge_hop(&mut self, original: Endpoint, sip: &Sip, to: Endpoint) {
        if to == original {
            return;
        }
        let to = Place(&to);
        if sip.status == 0 && sip.route.is_some_and(|route| route.place != PBX) {
            self.fail(format!(
                "the Route of a request names another hop than {to}"
            ));
        } else if sip.status != 0 && sip.vias.len() > 1 {
            self.fail(format!(
                "another proxy waits for the response that goes to {to}"
            ));
        }
    }

    /// An OPTIONS begins no dialog end: many a PBX accepts it with an invented To-tag (RFC 3261 11).
    pub(super) fn judge_beginning(&mut self, sip: &Sip, began: bool) {
        if began && sip.method == "OPTIONS" {
            self.fail("an OPTIONS begins a dialog end".into());
        }
    }

    /// Whether attackers know both tags of a dialog: then they are a party of it, with sipnat or without.
    fn is_known(&self, sip: &Sip) -> bool {
        let known = |tag| !is_secret(tag) || self.learned_tags.contains(&tag);
        known(sip.from.tag) && known(sip.to.tag)
    }

    /// Whether sipnat knows a terminal in a dialog of the PBX, in which the PBX has taken no request of an attacker. He may
    /// know both tags all the same: the PBX writes them into its answers to a call of his of the same name.
    fn is_untouched(&self, purpose: Purpose) -> bool {
        let Purpose::Request(at) = purpose else {
            return false;
        };
        let now = self.now();
        let dialog = self.pbx.clients[at].dialog;
        let Some(at) = dialog.filter(|_| self.setup.derived_tags) else {
            return false;
        };
        let end = |dialog: &Dialog| (dialog.call, dialog.remote.1, dialog.local.1);
        let name = end(&self.pbx.dialogs[at]);
        let mut same = self.pbx.dialogs.iter().enumerate();
        let is_first =
            same.all(|(other, dialog)| end(dialog) != name || other >= at && !dialog.taken);
        let is_known = match self.pbx.dialogs[at].peer {
            Actor::Victim => {
                let heard = self.watch.heard.get(&name);
                heard.is_some_and(|heard| now < heard.at + EARLY)
            }
            Actor::Public => self.pbx.servers.iter().any(|server| {
                server.dialog == Some(at)
                    && server.is_known
                    && server.began > self.watch.began
                    && now < server.began + EARLY
            }),
            _ => false,
        };
        is_first && is_known
    }

    /// Whether only its Contact URI or its address names the victim, and sipnat believes another registration of that: it has
    /// not seen the victim's, or the PBX has removed it.
    fn is_claimed(&mut self, purpose: Purpose) -> bool {
        let now = self.now();
        let (Purpose::Request(at) | Purpose::Follow(at)) = purpose else {
            return false;
        };
        let to = self.pbx.clients[at].to;
        let is_replaced = !self.knows_victim()
            && self.env.settled.get()
            && self.is_claimed_by_others(Actor::Victim, &to, now);
        let (client, contacts) = (&mut self.pbx.clients[at], &self.pbx.contacts);
        let is_known = contacts
            .iter()
            .any(|known| known.owner == Actor::Victim && known.expires > now);
        let by_uri = !client.request.target.is_number();
        let is_victims = client.meant == Some(Actor::Victim);
        // In a dialog that sipnat knows, the contact does not matter.
        let sip = &client.request;
        let heard = self.watch.heard.get(&(sip.call, sip.to.tag, sip.from.tag));
        let by_contact = is_victims && heard.is_none_or(|heard| now >= heard.at + EARLY);
        let is_claimed = match self.watch.claim {
            _ if client.weak && (is_replaced || by_uri && self.watch.uri_claimed || !is_known) => {
                is_victims
            }
            // sipnat does not know the victim's registration. Nothing tells a tenant with its user from it, nor whether To
            // names a group, if the user of its Contact is another.
            _ if (self.watch.uri_claimed || !is_known)
                && match sip.to.tag {
                    0 => self.setup.tenant || self.setup.other_user && self.env.settled.get(),
                    _ => self.setup.tenant && self.setup.uri_in_to,
                } =>
            {
                by_contact
            }
            Claim::None | Claim::Contest(_) => false,
            Claim::Host => by_contact && client.transmissions > 1,
            Claim::Turn | Claim::Believed(_) => by_contact,
        };
        if by_contact && self.watch.claim == Claim::Host {
            self.watch.claim = Claim::Turn;
        }
        client.taken |= is_claimed;
        is_claimed
    }

    /// Whether a NOTIFY may go to an attacker: he alone has subscribed, under the Call-ID and tag of a dialog of which sipnat
    /// knows nothing, and the PBX has not answered. Then the dialog is his.
    fn is_subscribed(&mut self, purpose: Purpose, sip: &Sip) -> bool {
        let now = self.now();
        let claim = self.watch.subscribed.get(&(sip.call, sip.to.tag));
        if sip.method != "NOTIFY"
            || claim.is_none_or(|(by, at)| by.is_honest() || now >= at + TRANSACTION)
        {
            return false;
        }
        if let Purpose::Request(at) = purpose {
            let client = &mut self.pbx.clients[at];
            client.taken = true;
            if let Some(dialog) = client.dialog {
                self.pbx.dialogs[dialog].taken = true;
            }
        }
        true
    }

    /// Notes a SUBSCRIBE or REFER that sipnat keeps until the PBX answers.
    pub(super) fn note_subscribes(&mut self, by: Actor, call: Call, tag: Tag) {
        let now = self.now();
        let known = self
            .watch
            .subscribed
            .entry((call, tag))
            .or_insert((by, now));
        if by.is_honest() || !known.0.is_honest() || now >= known.1 + TRANSACTION {
            *known = (by, now);
        }
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

    /// A terminal that would get every ACK without sipnat gets one of three.
    fn judge_ack(
        &mut self,
        meant: Option<Actor>,
        original: Endpoint,
        sip: &Sip,
        receiver: Option<Actor>,
    ) {
        let Some(meant) = meant.filter(|meant| meant.is_honest()) else {
            return;
        };
        let arrives = receiver == Some(meant) || self.terminal(meant).mood == Mood::Silent;
        let arrives_alone = self.listener(&original, false) == Some(meant);
        let ack = (sip.call, sip.from.tag, sip.to.tag, sip.cseq);
        let missed = self.watch.missed_acks.entry(ack).or_default();
        *missed = if arrives || !arrives_alone {
            0
        } else {
            *missed + 1
        };
        let missed = *missed;
        if missed > PATIENCE {
            self.fail(format!(
                "{meant:?} gets every ACK without sipnat; with it, it missed {missed}"
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
        // Another user in From is another terminal.
        let occupied = self.setup.caller_id && self.env.record().ground == Ground::Occupied as u8;
        let client = &mut self.pbx.clients[at];
        if occupied && client.learned != learned {
            // Transmissions are counted anew for each address at which the terminal is.
            client.missed = 0;
        }
        client.sent_to = to;
        client.learned = learned;
        let Some(meant) = client.meant.filter(|meant| meant.is_honest()) else {
            return;
        };
        let transmissions = client.transmissions;
        let (weak, first, in_dialog) =
            (client.weak, transmissions == 1, client.request.to.tag != 0);
        if client.taken || client.origin.is_some_and(|origin| !origin.is_honest()) {
            return;
        }
        let arrives = receiver == Some(meant);
        // A terminal that is off misses nothing.
        let is_off = self.terminal(meant).mood == Mood::Silent;
        let client = &mut self.pbx.clients[at];
        client.missed = if arrives || is_off {
            0
        } else {
            client.missed + 1
        };
        let missed = client.missed;
        let arrives_alone = self.listener(&original, false) == Some(meant);
        let is_silent = self.is_silent_trunk(meant, weak, first);
        if !is_silent {
            self.judge_target(Some(meant), original, to);
        }
        let seems = self.watch.seems.get(&(key(&learned), key(&original)));
        if meant == Actor::Public && seems == Some(&Seems::So) && missed <= PATIENCE {
            return;
        }
        let pair = (meant, key(&learned), key(&original), weak);
        let unanswered = self.watch.unanswered.entry(pair).or_default();
        // The answer to another request may still be on its way.
        let waits = first && unanswered.count > 0 && now < unanswered.at + GRACE;
        if !waits {
            *unanswered = Unanswered {
                count: unanswered.count + 1,
                at: now,
            };
        }
        // Neither a registration nor an answer to another request changes what this one has drawn. Where only its URI names
        // the terminal, each request is counted alone.
        let unanswered = if weak { 0 } else { unanswered.count }.max(transmissions);
        if meant == Actor::Victim && !weak && unanswered == 1 {
            self.judge_at_once(at, original, to);
        }
        if meant == Actor::Victim && weak && !in_dialog {
            self.judge_weak(at, original, to);
        }
        if arrives_alone && !arrives && unanswered == 1 && !occupied && !is_silent {
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
        if arrives_alone
            && to.addr != original.addr
            && decision == Decision::RedirectedDialog
            && transmissions <= PATIENCE
        {
            let to = Place(&to);
            self.fail(format!(
                "transmission {transmissions} of a request in a call of {meant:?} goes to {to}, which may refuse it; \
                 without sipnat it arrives"
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
            && self.knows_victim()
            && !self.is_contested()
            && !self.is_doubted()
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

    /// A request that only its Contact URI names, and that draws no answer, has gone to the victim after two transmissions. So
    /// has one that only its address names, if nobody else has that.
    fn judge_weak(&mut self, at: usize, original: Endpoint, to: Endpoint) {
        let (now, source) = (self.now(), self.source(Actor::Victim));
        let client = &mut self.pbx.clients[at];
        client.tried |= to == source;
        let (tried, target, began) = (client.tried, client.request.target, client.began);
        let is_known = self.pbx.contacts.iter().any(|known| {
            known.owner == Actor::Victim
                && known.uri.of_user(target.user) == target
                && (target.is_number() || known.uri == target)
                && known.expires > now
        });
        let is_best = if target.is_number() {
            let shared = self.watch.shared.get(&key(&original));
            began >= self.settles_at()
                && !self.setup.proxy
                && shared.is_none_or(|until| began >= *until)
                && !self.is_claimed_by_others(Actor::Victim, &original, began)
                && self.is_alone()
        } else {
            (self.outranks() || !self.watch.uri_bound)
                && (self.env.settled.get() || !self.setup.other_user)
        };
        let is_sure = self.watch.registered == Some(source)
            && self.watch.registered_at < self.pbx.clients[at].began
            && is_known
            && self.knows_victim()
            && is_best
            && !self.is_contested()
            && !self.watch.somebody_answered
            && original.is_private();
        if is_sure && !tried && self.pbx.clients[at].transmissions == PATIENCE {
            self.fail(format!(
                "the victim has registered from {}; {PATIENCE} transmissions to its Contact do not go there",
                Place(&source)
            ));
        }
    }

    /// Whether the claim of the victim to its Contact URI is better than another account's.
    pub(super) const fn outranks(&self) -> bool {
        !self.setup.other_user && !self.setup.tenant
    }

    /// Whether two hosts claim the victim's contact, so that sipnat believes neither.
    pub(super) fn is_contested(&self) -> bool {
        matches!(self.watch.claim, Claim::Contest(until) if self.now() < until)
    }

    /// Whether sipnat has seen the victim's registration, which lasts.
    fn knows_victim(&self) -> bool {
        self.now() < self.watch.knows_victim_until
    }

    /// Whether a terminal seems to be at an address, because its own answer seemed to say so.
    fn seems_at(&self, actor: Actor, learned: &Endpoint) -> bool {
        let mut seems = self.watch.seems.iter();
        actor == Actor::Public
            && seems.any(|((known, _), seems)| *known == key(learned) && *seems == Seems::So)
    }

    /// Notes that the victim repeats something, or answers a request that did not go to its learned address last.
    pub(super) fn note_doubt(&mut self) {
        if self.watch.victim_seems {
            self.watch.victim_doubted = Some(self.now());
        }
    }

    /// Whether sipnat may take the victim not to be at its learned address.
    fn is_doubted(&self) -> bool {
        let doubted = self.watch.victim_doubted;
        doubted.is_some_and(|at| self.now() < at + PROOF)
    }

    /// Notes an answer of the public phone, from its learned address. `redirected`: the last transmission went there.
    fn note_seems(&mut self, pair: (Key, Key), redirected: bool, prompt: bool) {
        let now = self.now();
        let known = self.watch.seems.get(&pair).copied();
        let next = match known {
            Some(Seems::So) if !redirected => Seems::Disproved(now),
            None if redirected && prompt => Seems::So,
            Some(Seems::Disproved(at)) if redirected && prompt && now >= at + PROOF => Seems::So,
            _ => return,
        };
        self.watch.seems.insert(pair, next);
    }

    /// Whether no claim of the victim's contact counts.
    pub(super) fn is_alone(&self) -> bool {
        self.watch.claim == Claim::None
    }

    /// Notes a response of a host behind the victim's NAT, which could be the victim's.
    pub(super) fn note_neighbour(&mut self, by: Actor, source: &Endpoint, status: u16) {
        self.watch.somebody_accepted |=
            by != Actor::Victim && source.addr == NAT_5060.addr && is_own(status);
    }

    /// Notes that a PBX that is no proxy relays a 2xx to an attacker's REGISTER, and that sipnat sees neither the REGISTER nor
    /// the 2xx on their other way.
    pub(super) fn note_unseen(&mut self, server: usize) {
        let server = &self.pbx.servers[server];
        let (by, request) = (server.by, server.request.clone());
        if !self.setup.relays_registers || by.is_honest() || request.to.tag != 0 {
            return;
        }
        let beside = by != Actor::Neighbour && registrant(request.call).is_none();
        let until = self.now() + CONTEST;
        // An attacker who is believed may have removed what it knew of the victim.
        let is_believed = matches!(self.watch.claim, Claim::Believed(_));
        self.note_claim(
            &request,
            match (
                beside && request.binds(&request.to.uri),
                self.knows_victim() && !is_believed,
            ) {
                (true, true) => Claim::Host,
                (true, false) => Claim::Believed(until),
                (false, _) => Claim::Believed(0),
            },
        );
    }

    /// Notes that a proxy relays a 2xx to an attacker's REGISTER that it has not refused, and that sipnat does not see whence.
    pub(super) fn note_slip(&mut self, by: Actor, request: &Sip, answer: &Sip) {
        let mut servers = self.pbx.servers.iter();
        let refused = servers.any(|server| {
            server.request.branch() == request.branch()
                && server.last.as_ref().is_some_and(|last| last.status >= 300)
        });
        if !self.setup.proxy || refused || answer.to.uri != request.to.uri {
            return;
        }
        self.note_registration(by, request);
    }

    /// Notes that the PBX answers an attacker's REGISTER again with a 2xx that is not its own, which it relayed before sipnat
    /// started.
    pub(super) fn note_repeated(&mut self, server: usize, request: &Sip) {
        let server = &self.pbx.servers[server];
        let accepted = server
            .last
            .as_ref()
            .is_some_and(|last| last.status / 100 == 2);
        let (by, began) = (server.by, server.began);
        let relays = self.setup.proxy || self.setup.relays_registers;
        if relays
            && accepted
            && request.method == "REGISTER"
            && !by.is_honest()
            && began <= self.watch.began
        {
            self.note_registration(by, request);
        }
    }

    /// Notes what it makes of the victim's contact that sipnat takes a 2xx to an attacker's REGISTER for the PBX's own.
    fn note_registration(&mut self, by: Actor, request: &Sip) {
        let until = self.now() + CONTEST;
        match (by, self.knows_victim()) {
            (Actor::Neighbour, _) => self.note_claim(request, Claim::Believed(0)),
            (_, false) => self.note_claim(request, Claim::Believed(until)),
            (_, true) if request.binds(&request.to.uri) => {
                self.note_claim(request, Claim::Contest(until));
            }
            // Nobody removes the victim's contact from another host.
            (_, true) => {}
        }
    }

    /// Notes a claim of the victim's contact. The one that gets him more stays.
    fn note_claim(&mut self, request: &Sip, claim: Claim) {
        let changes = self.changes(Actor::Victim);
        let contact = self.setup.contact(Actor::Victim, changes, true);
        let of_victim = request.to.uri == self.setup.account(Actor::Victim);
        if !of_victim && !request.names(&contact) {
            return;
        }
        let now = self.now();
        self.watch.claim = match (self.watch.claim, claim) {
            (Claim::Believed(known), Claim::Believed(new) | Claim::Contest(new)) => {
                Claim::Believed(known.max(new))
            }
            (Claim::Turn, Claim::Believed(new) | Claim::Contest(new)) => Claim::Believed(new),
            (Claim::Believed(_) | Claim::Turn, _) => self.watch.claim,
            // There is a contest at a proxy only. There, sipnat does not follow the victim's account to another domain.
            (Claim::Contest(until), Claim::Host) if of_victim && now < until => self.watch.claim,
            (_, claim) => claim,
        };
        self.watch.occupied = None;
    }

    /// Notes what is left of a claim after the victim has registered.
    fn note_return(&mut self) {
        let now = self.now();
        let is_proxy = self.setup.proxy || self.watch.relays;
        self.watch.claim = match self.watch.claim {
            Claim::Host | Claim::Turn if is_proxy => Claim::Contest(now + CONTEST),
            Claim::Believed(until) if now < until && !is_proxy => Claim::Believed(until),
            Claim::Believed(until) | Claim::Contest(until) if now < until => {
                Claim::Contest(now + CONTEST)
            }
            _ => Claim::None,
        };
    }

    /// A request for the victim goes at once to where the PBX last heard it, if it cannot be at its Contact: nothing leads
    /// there, or another terminal is there. So does one in a dialog in which the victim got what was sent there.
    fn judge_at_once(&mut self, at: usize, original: Endpoint, to: Endpoint) {
        let (now, source) = (self.now(), self.source(Actor::Victim));
        let mut occupied = self.watch.occupied.filter(|at| now < at + PROOF / 2);
        // The model does not count what a proxy relays in dialogs that it has not seen begin.
        let counts = !self.setup.proxy && !self.watch.somebody_answered && !self.is_doubted();
        if original != NAT_5060 || !counts {
            occupied = None;
        }
        let elsewhere = original.is_private() || occupied.is_some();
        let sip = &self.pbx.clients[at].request;
        let heard = if sip.to.tag == 0 {
            let mut contacts = self.pbx.contacts.iter();
            let is_known = contacts.any(|known| {
                (known.owner, known.uri, known.aor) == (Actor::Victim, sip.target, sip.to.uri)
                    && known.expires > now
            });
            let lasts = now < self.watch.registered_until;
            let is_sure = is_known && lasts && elsewhere && !self.is_contested();
            self.watch.registered.filter(|_| is_sure)
        } else {
            let end = (sip.call, sip.to.tag, sip.from.tag);
            let heard = self.watch.heard.get(&end).copied();
            // Of a dialog without an owner, sipnat cannot say that another terminal is at the Contact.
            let is_sure = |heard: &Heard| {
                original.is_private() || occupied.is_some() && heard.owned || heard.proven && counts
            };
            heard
                .filter(|heard| now < heard.at + EARLY && is_sure(heard))
                .map(|heard| heard.source)
        };
        if heard == Some(source) && to != source {
            let (to, source) = (Place(&to), Place(&source));
            self.fail(format!(
                "the PBX has heard the victim at {source}, where it must be; its request goes to {to}"
            ));
        }
    }

    /// Notes that the PBX heard the victim in a dialog: it has the tag of the PBX's last answer.
    pub(super) fn note_progress(&mut self, sip: &Sip, source: Endpoint) {
        let end = (sip.call, sip.from.tag, sip.to.tag);
        if let Some(heard) = self.watch.heard.get_mut(&end) {
            heard.proven |= heard.told && heard.source == source;
        }
    }

    /// Notes that the victim accepted a call of the PBX, which went to its learned address.
    pub(super) fn note_accepts(&mut self, at: usize, sip: &Sip, source: Endpoint) {
        let now = self.now();
        let client = &self.pbx.clients[at];
        let prompt = client.transmissions == 1 || now < client.sent_at + T1;
        if client.sent_to != client.learned || client.began <= self.watch.began || client.taken {
            return;
        }
        let end = (sip.call, sip.to.tag, sip.from.tag);
        let heard = Heard {
            source,
            at: now,
            told: false,
            proven: prompt && source == client.sent_to,
            owned: !client.weak,
        };
        self.watch.heard.insert(end, heard);
    }

    /// Notes where the PBX heard the victim, by a response of the PBX to its request.
    fn note_heard(&mut self, at: usize, sip: &Sip, decision: Decision, to: Endpoint) {
        let now = self.now();
        let server = &self.pbx.servers[at];
        if decision == Decision::Disputed || server.began <= self.watch.began {
            return;
        }
        let end = (sip.call, sip.from.tag, sip.to.tag);
        match sip.method {
            "REGISTER" => {
                let binds =
                    server.request.binds(&server.request.to.uri) && self.is_own_registrar(sip);
                self.watch.registered = binds.then_some(server.source);
                self.watch.registered_at = now;
                if let Contacts::Uris(uris) = &server.request.contacts {
                    let seconds = granted(&server.request, uris[0].1);
                    self.watch.registered_until = now + u64::from(seconds) * SECOND;
                }
                if let Some(contact) = server.request.contact().filter(|_| binds) {
                    // A terminal that registers is there again.
                    let (learned, original) = (key(&server.source), key(&contact.place));
                    let back = (Actor::Victim, learned, original, false);
                    self.watch.unanswered.remove(&back);
                }
            }
            "INVITE" | "SUBSCRIBE" | "REFER" | "INFO" => {
                let overtaken = self.setup.early_notify
                    && server.request.to.tag == 0
                    && matches!(sip.method, "SUBSCRIBE" | "REFER");
                let known = self.watch.heard.get(&end);
                let heard = Heard {
                    source: server.source,
                    at: now,
                    told: to == server.source,
                    proven: false,
                    owned: !overtaken && known.is_none_or(|known| known.owned),
                };
                self.watch.heard.insert(end, heard);
            }
            _ => _ = self.watch.heard.remove(&end),
        }
    }

    /// Whether a 2xx to a REGISTER counts as the PBX's own. Of two that sent the REGISTER, sipnat cannot tell which one the PBX
    /// answers.
    fn is_own_registrar(&self, sip: &Sip) -> bool {
        let senders = self
            .watch
            .registers
            .get(&(sip.call, sip.from.tag, sip.cseq));
        let one = senders.is_some_and(|senders| senders.len() == 1);
        one && (!self.setup.proxy || self.setup.registrar != Registrar::Unnamed)
    }

    /// Whether sipnat may know contacts with an address that are not those of an actor.
    fn is_claimed_by_others(&self, actor: Actor, place: &Endpoint, at: u64) -> bool {
        let owner = self.setup.account(actor);
        let mut claims = self.watch.places.iter();
        claims.any(|known| known.place == key(place) && known.owner != owner && known.until > at)
    }

    /// Notes what an accepted REGISTER makes of the contacts with an address.
    fn note_places(&mut self, at: usize, sip: &Sip, decision: Decision) {
        let now = self.now();
        let server = &self.pbx.servers[at];
        let (request, source) = (server.request.clone(), server.source);
        let (owner, call) = (request.to.uri, request.call);
        // What it removes may stay in sipnat's tables, if that does not know whose the answer is.
        let removes = decision != Decision::Disputed
            && server.began > self.watch.began
            && request.to.tag == 0
            && request.route.is_none()
            && !request.target.is_elsewhere()
            && !self.setup.proxy
            && !self.setup.relays_registers
            && self.is_own_registrar(sip);
        let uris = match &request.contacts {
            Contacts::None => return,
            Contacts::Star => {
                let stays =
                    |known: &ClaimedPlace| !removes || (known.owner, known.call) != (owner, call);
                return self.watch.places.retain(stays);
            }
            Contacts::Uris(uris) => uris,
        };
        for (uri, seconds) in uris {
            let seconds = granted(&request, *seconds);
            let place = key(&uri.place);
            let is_own = |known: &ClaimedPlace| (known.place, known.owner) == (place, owner);
            let places = &mut self.watch.places;
            if seconds == 0 {
                places.retain(|known| !removes || !is_own(known) || known.call != call);
                continue;
            }
            if uri.place == source {
                continue;
            }
            let others = places
                .iter()
                .filter(|known| known.place == place && known.owner != owner);
            let until = others.map(|known| known.until).max().unwrap_or(0);
            let shared = self.watch.shared.entry(place).or_default();
            *shared = until.max(*shared);
            places.retain(|known| !is_own(known));
            places.push(ClaimedPlace {
                place,
                owner,
                call,
                until: now + u64::from(seconds) * SECOND,
            });
        }
    }

    /// Whether a call to a trunk may go elsewhere: nothing shows that it is there, and somebody has a contact there.
    fn is_silent_trunk(&self, meant: Actor, weak: bool, first: bool) -> bool {
        let original = self.setup.source(Actor::Trunk, 0);
        let answered = self.watch.answered.get(&(Actor::Trunk, key(&original)));
        meant == Actor::Trunk
            && weak
            && (!first || self.watch.trunk_replaced)
            && self.setup.trunk == TrunkKind::Private
            && self.env.settled.get()
            && (self.setup.proxy || self.is_claimed_by_others(meant, &original, self.now()))
            && self
                .watch
                .trunk_called
                .is_none_or(|at| self.now() >= at + PROOF / 2)
            && answered.is_none_or(|answered| self.now() >= answered.at + DAY)
    }

    /// Notes what sipnat learns of anybody by a response of the PBX.
    fn note_response(&mut self, at: usize, sip: &Sip, decision: Decision) {
        let (now, setup) = (self.now(), self.setup);
        let is_trunk_silent = self.terminal(Actor::Trunk).mood == Mood::Silent;
        let server = &self.pbx.servers[at];
        let (by, source, request) = (server.by, server.source, &server.request);
        let registers = (sip.method, sip.status) == ("REGISTER", 200);
        let creates = matches!(sip.method, "INVITE" | "SUBSCRIBE" | "REFER");
        if creates && request.to.tag == 0 && sip.status > 100 && decision != Decision::Disputed {
            let claim = (sip.call, sip.from.tag);
            let subscribed = &mut self.watch.subscribed;
            if subscribed.get(&claim).is_some_and(|known| known.0 == by) {
                subscribed.remove(&claim);
            }
        }
        // A call shows that the trunk is there once it has acknowledged that: anybody may forge an INVITE.
        if by == Actor::Trunk
            && !is_trunk_silent
            && request.to.tag == 0
            && (sip.method, sip.status / 100) == ("INVITE", 2)
            && !matches!(decision, Decision::Disputed | Decision::UnknownResponse)
        {
            self.watch.trunk_called = Some(now);
        }
        if by == Actor::Neighbour && (101..300).contains(&sip.status) {
            // An address is that of the terminal that the PBX last accepted there.
            let accepted = registers
                && sip.from.uri == setup.account(Actor::Neighbour)
                && request.to.tag == 0
                && !request.target.is_elsewhere()
                && request.route.is_none()
                && server.began > self.watch.began
                && self.is_own_registrar(sip);
            let is_there = accepted && source == NAT_5060 && request.binds(&sip.to.uri);
            self.watch.occupied = is_there.then_some(now);
        }
        if registers && by == Actor::Public && request.binds(&sip.to.uri) {
            // A terminal that registers is there again, unless it goes.
            let known = |pair: &(Actor, Key, Key, bool)| pair.0 == by && pair.1 == key(&source);
            self.watch.unanswered.retain(|pair, _| !known(pair));
        }
        if registers {
            self.note_places(at, sip, decision);
        }
        if !registers || by == Actor::Victim {
            return;
        }
        let contact = setup.contact(Actor::Victim, self.changes(Actor::Victim), true);
        let request = &self.pbx.servers[at].request;
        let is_claim = request.names(&contact) && !request.target.is_elsewhere();
        self.watch.uri_bound |= is_claim && request.binds(&request.to.uri);
        self.watch.uri_claimed |= is_claim && !self.knows_victim();
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
        self.note_response(at, sip, decision);
        let server = &mut self.pbx.servers[at];
        let (meant, source) = (server.by, server.source);
        server.sent += 1;
        server.is_known |=
            sip.status > 100 && !matches!(decision, Decision::Disputed | Decision::UnknownResponse);
        if !meant.is_honest() {
            return;
        }
        let registers = (sip.method, sip.status) == ("REGISTER", 200);
        let unrepeated = server.repeats == 0 || server.sent == 1;
        let first = server.sent == 1 || !server.was_final;
        server.was_final |= sip.status >= 200;
        // A provisional response after an odd number of repetitions goes to the source: the one before may not have arrived,
        // or not yet. It is not counted.
        let counts = sip.status >= 200 || server.repeats.is_multiple_of(2);
        let arrives = receiver == Some(meant);
        server.missed = match (arrives, counts) {
            (true, _) => 0,
            (false, counts) => server.missed + u32::from(counts),
        };
        let missed = server.missed;
        let arrives_alone = self.listener(&original, true) == Some(meant);
        self.judge_target(Some(meant), original, to);
        if self.seems_at(meant, &source) {
            return;
        }
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
        if meant == Actor::Victim && sip.status / 100 == 2 && first {
            self.note_heard(at, sip, decision, to);
        }
        // The PBX may say again what it said of an earlier registration. It knows the victim by the later one.
        let mut later = self.pbx.servers[at + 1..].iter();
        let is_newest = !later.any(|server| {
            server.by == Actor::Victim
                && server.key.1 == "REGISTER"
                && server.last.as_ref().is_some_and(|last| last.status == 200)
        });
        if meant == Actor::Victim && registers && is_newest {
            let is_followed = decision != Decision::Disputed && self.is_own_registrar(sip);
            if is_followed {
                self.watch.uri_claimed = false;
                self.note_return();
            }
            let request = &self.pbx.servers[at].request;
            let binds = request.binds(&request.to.uri) && is_followed;
            let seconds = match &request.contacts {
                Contacts::Uris(uris) if binds => granted(request, uris[0].1),
                _ => 0,
            };
            self.watch.knows_victim_until = self.now() + u64::from(seconds) * SECOND;
        }
    }

    /// Notes a response of the public phone, also one that the PBX ignores because it has another: sipnat does not know that.
    pub(super) fn note_public(&mut self, at: usize, by: Actor, source: Endpoint) {
        let client = &self.pbx.clients[at];
        let (original, learned) = (client.to, client.learned);
        let redirected = client.sent_to != original;
        let prompt = client.transmissions == 1 || self.now() < client.sent_at + T1;
        let learns = client.transmissions > 1 || !redirected;
        let own = client.meant == Some(Actor::Public) && by == Actor::Public && source == learned;
        if own && learns {
            self.note_seems((key(&learned), key(&original)), redirected, prompt);
        }
    }

    /// Notes that the PBX took a response to a request.
    pub(super) fn note_answer(&mut self, at: usize, by: Actor, source: Endpoint, status: u16) {
        let now = self.now();
        let client = &self.pbx.clients[at];
        if client.sent_at <= self.watch.began || now >= client.sent_at + RINGS {
            // sipnat has not seen the request, or waits no longer.
            return;
        }
        let (meant, original, learned) = (client.meant, client.to, client.learned);
        let prompt = client.transmissions == 1 || now < client.sent_at + T1;
        let (redirected, weak) = (client.sent_to != original, client.weak);
        let by_contact = client.request.to.tag == 0 && !weak;
        // A refusal that another host could give proves nothing.
        let proves = status < 300 || is_own(status);
        // An answer from there, to any request, says that somebody is there.
        self.watch.somebody_answered |= by != Actor::Victim && source == NAT_5060;
        // A call of the account's own, whose Contact has the trunk's address, is like one of the trunk's to sipnat.
        self.watch.trunk_replaced |=
            weak && by != Actor::Trunk && original == self.setup.source(Actor::Trunk, 0);
        let Some(meant) = meant else {
            return;
        };
        self.note_public(at, by, source);
        if meant == Actor::Victim && by == meant {
            if !redirected {
                self.note_doubt();
            } else if prompt && proves {
                self.watch.victim_seems = self.pbx.clients[at].transmissions > 1;
            }
        }
        let pair = (meant, key(&learned), key(&original), weak);
        if by != meant {
            self.watch.somebody_answered |= meant == Actor::Victim && source.addr == original.addr;
            if let Some(proof) = &mut self.watch.proof
                && (meant, proof.original) == (Actor::Victim, original)
            {
                if is_own(status) && prompt && !weak && proof.struck_at != Some(at) {
                    proof.strikes += 1;
                    proof.struck_at = Some(at);
                }
                if prompt && source == original && is_own(status) {
                    self.watch.unanswered.remove(&pair);
                }
            }
            return;
        }
        // What does not come from the original destination may be a slow answer to a transmission to the learned address.
        if !redirected && source != original && self.pbx.clients[at].transmissions > 1 {
            return;
        }
        // Another terminal at the original destination refuses otherwise.
        if !prompt || !redirected && !is_own(status) {
            return;
        }
        self.watch.unanswered.remove(&pair);
        if redirected {
            if meant == Actor::Victim && !weak && proves && source == learned {
                self.watch.proof = Some(Proof {
                    learned,
                    original,
                    at: now,
                    strikes: 0,
                    struck_at: None,
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
