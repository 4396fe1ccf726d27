//! Terminals: what they send, and how they react. An attacker reacts as a terminal, with the tags that he likes.

use nat_common::abi::SECOND;
use nat_common::endpoint::Endpoint;

use super::actor::Actor;
use super::input::{Callee, Honest, Inner, Mood, Removal, TagChoice, Transit};
use super::sip::{Branch, Call, Contacts, Party, Sip, Tag, Uri, Via};
use super::state::Leg;
use super::world::{Event, Path, Purpose, World};

/// First branch of terminals. They can be guessed.
const BRANCHES: Branch = 1_000_000;

/// Time after which a transaction has timed out: 64 * T1 (RFC 3261 17).
pub(super) const TRANSACTION: u64 = 32 * SECOND;

/// Tag that attackers invent.
pub(super) const INVENTED: Tag = 900;

/// Whether nobody guesses a tag.
pub(super) const fn is_secret(tag: Tag) -> bool {
    tag >= 1000
}

/// Returns the branch of a terminal's request.
pub(super) const fn branch(actor: Actor, call: Call, cseq: u32) -> Branch {
    BRANCHES * (1 + actor as Branch) + call as Branch * 64 + cseq
}

/// Returns the Call-ID of a terminal's registrations, which is also its tag there.
pub(super) const fn registration(actor: Actor) -> Call {
    1 + actor as Call
}

/// Returns the terminal whose registrations have a Call-ID.
pub(super) fn registrant(call: Call) -> Option<Actor> {
    [Actor::Victim, Actor::Public]
        .into_iter()
        .find(|actor| registration(*actor) == call)
}

impl World {
    /// Request of a terminal, with its Via and Contact.
    fn compose(&self, actor: Actor, method: &'static str, call: Call, cseq: u32) -> Sip {
        let changes = self.changes(actor);
        let (setup, account) = (&self.setup, self.setup.account(actor));
        let party = Party {
            uri: account,
            tag: call,
        };
        Sip {
            method,
            status: 0,
            target: account,
            route: None,
            record_route: false,
            vias: vec![Via {
                sent_by: setup.sent_by(actor, changes),
                rport: actor == Actor::Victim && setup.rport,
                branch: branch(actor, call, cseq),
            }],
            from: party,
            to: Party { tag: 0, ..party },
            call,
            cseq,
            contacts: setup.contact(actor, changes, method == "REGISTER").into(),
            expires: None,
            credentials: Some(actor),
            unseen: false,
        }
    }

    /// Sends a request of a terminal to the PBX.
    fn send(&mut self, actor: Actor, sip: Sip) {
        let source = match actor {
            // Its calls come from the port at which it listens, its registrations do not.
            Actor::Public if self.setup.caller_id && sip.method != "REGISTER" => {
                self.setup.sent_by(actor, 0)
            }
            _ => self.source(actor),
        };
        if actor == Actor::Public {
            self.terminal(actor).changes += 1;
        }
        if sip.method != "ACK" {
            let now = self.now();
            self.terminal(actor).last = Some((sip.clone(), source, now));
        }
        self.arrives(actor, source, Path::Pbx, sip);
    }

    /// Sends a request of a terminal by way of a proxy on the trunk's host.
    fn send_through(&mut self, actor: Actor, mut sip: Sip) {
        let source = self.source(Actor::Trunk);
        sip.vias.push(Via {
            sent_by: source,
            rport: false,
            branch: branch(Actor::Registrar, sip.call, sip.cseq),
        });
        let now = self.now();
        self.terminal(actor).last = Some((sip.clone(), source, now));
        self.arrives(actor, source, Path::Pbx, sip);
    }

    /// A terminal registers.
    pub(super) fn register(&mut self, who: Honest, removal: Removal, short: bool) {
        if who == Honest::Trunk {
            return;
        }
        let actor = who.into();
        let (now, impatient) = (self.now(), self.setup.impatient);
        let terminal = self.terminal(actor);
        let waits = terminal
            .waits_since
            .is_some_and(|since| now < since + TRANSACTION);
        if waits && !impatient {
            // RFC 3261 10.2: no other REGISTER before this one is answered, or has timed out.
            return self.repeats(actor);
        }
        terminal.waits_since = Some(now);
        terminal.register_cseq += 1;
        terminal.registered = false;
        let cseq = terminal.register_cseq;
        let uri = self.setup.contact(actor, self.changes(actor), true);
        let mut request = self.compose(actor, "REGISTER", registration(actor), cseq);
        request.target = Uri::named("", super::address::DOMAIN);
        request.contacts = removal.contacts(uri);
        request.expires = match removal {
            Removal::Star => Some(0),
            Removal::None | Removal::Zero => short.then_some(60),
        };
        request.credentials = None;
        self.send(actor, request);
    }

    /// A terminal calls.
    pub(super) fn calls(&mut self, actor: Actor, to: Callee, method: &'static str, through: bool) {
        let call = self.call();
        let mut request = self.compose(actor, method, call, 1);
        request.target = self.callee(to);
        request.to.uri = request.target;
        if actor == Actor::Public && self.setup.caller_id {
            request.from.uri.user = "2999";
        }
        if method != "INVITE" {
            self.note_subscribes(actor, call, request.from.tag);
        }
        if through {
            return self.send_through(actor, request);
        }
        self.send(actor, request);
    }

    /// A terminal sends a request within a dialog, counted from the newest.
    pub(super) fn sends_inner(&mut self, actor: Actor, which: usize, method: Inner) {
        let legs = &mut self.terminal(actor).legs;
        let Some(at) = legs.len().checked_sub(1 + which) else {
            return;
        };
        legs[at].cseq += 1;
        let leg = legs[at];
        if method == Inner::Bye {
            legs.remove(at);
        }
        let request = self.within(actor, &leg, method.name());
        self.send(actor, request);
    }

    /// Request of a terminal within a dialog.
    fn within(&self, actor: Actor, leg: &Leg, method: &'static str) -> Sip {
        let mut request = self.compose(actor, method, leg.call, leg.cseq);
        let party = |(uri, tag)| Party { uri, tag };
        request.from = party(leg.local);
        request.to = party(leg.remote);
        request.target = leg.target;
        request
    }

    /// A terminal repeats its last request, until its transaction ends (RFC 3261 17.1.1.2, 17.1.2.2).
    pub(super) fn repeats(&mut self, actor: Actor) {
        let now = self.now();
        let last = self.terminal(actor).last.clone();
        if let Some((sip, source, at)) = last
            && now < at + TRANSACTION
        {
            if actor == Actor::Victim {
                self.note_doubt();
                // Its next REGISTER answers one of two challenges.
                self.watch.victim_seems |= sip.method == "REGISTER";
            }
            self.arrives(actor, source, Path::Pbx, sip);
        }
    }

    /// A terminal answers the call that rings, or goes on ringing and sends 100.
    pub(super) fn picks_up(&mut self, actor: Actor, refuse: bool, trying: bool) {
        let rings = &mut self.terminal(actor).rings;
        if trying {
            if let Some((request, at)) = rings.clone() {
                self.answers(actor, at, Path::Pbx, &request, 100);
            }
        } else if let Some((request, at)) = rings.take() {
            let status = if refuse { 486 } else { 200 };
            self.answers(actor, at, Path::Pbx, &request, status);
        }
    }

    /// A packet reaches an actor.
    pub(super) fn deliver(&mut self, actor: Actor, at: Endpoint, path: Path, sip: Sip) {
        if !actor.is_honest() {
            let told = [sip.from.tag, sip.to.tag];
            let secret = told.into_iter().filter(|tag| is_secret(*tag));
            self.learned_tags.extend(secret);
        }
        if self.terminal(actor).mood == Mood::Silent {
            return;
        }
        if sip.status != 0 && sip.vias.len() > 1 && actor == Actor::Trunk {
            // The proxy on its host takes it to the caller.
            let caller = self
                .pbx
                .servers
                .iter()
                .find(|server| server.request.branch() == sip.branch());
            if let Some(caller) = caller.map(|server| server.by) {
                self.told(caller, &sip);
            }
        } else if sip.status != 0 {
            self.told(actor, &sip);
        } else if actor == Actor::Registrar {
            let (status, contacts) = match self.registrar_answer(&sip) {
                Ok(contacts) => (200, contacts),
                Err(status) => (status, Contacts::None),
            };
            let tag = self.tag();
            let mut answer = sip.answer(status, tag);
            answer.contacts = contacts;
            self.arrives(actor, at, path, answer);
        } else {
            self.asked(actor, at, path, &sip);
        }
    }

    /// Reacts to a request.
    fn asked(&mut self, actor: Actor, at: Endpoint, path: Path, request: &Sip) {
        if request.method == "ACK" {
            return;
        }
        let terminal = self.terminal(actor);
        let same =
            |known: &Sip| (known.branch(), known.method) == (request.branch(), request.method);
        if let Some((known, source)) = terminal.answers.iter().rfind(|(known, _)| same(known)) {
            let (known, source) = (known.clone(), *source);
            return self.arrives(actor, source, path, known);
        }
        let mood = terminal.mood;
        let own = (request.call, request.to.tag);
        let known = terminal
            .legs
            .iter()
            .any(|leg| (leg.call, leg.local.1, leg.remote.1) == (own.0, own.1, request.from.tag));
        // A NOTIFY may come ahead of the answer to its SUBSCRIBE.
        let asked = terminal.last.as_ref();
        let known = known || asked.is_some_and(|(sip, ..)| (sip.call, sip.from.tag) == own);
        match request.method {
            "CANCEL" => {
                self.answers(actor, at, path, request, 200);
                self.picks_up(actor, true, false);
            }
            _ if request.to.tag != 0 && actor.is_honest() => {
                let status = if known { 200 } else { 481 };
                self.answers(actor, at, path, request, status);
            }
            "INVITE" => match mood {
                Mood::Silent => {}
                Mood::Answer => self.answers(actor, at, path, request, 200),
                Mood::Refuse => self.answers(actor, at, path, request, 486),
                Mood::Slow => self.terminal(actor).rings = Some((request.clone(), at)),
                Mood::Ring | Mood::Trying => {
                    let status = if mood == Mood::Ring { 180 } else { 100 };
                    self.terminal(actor).rings = Some((request.clone(), at));
                    self.answers(actor, at, path, request, status);
                }
            },
            _ if mood == Mood::Refuse => self.answers(actor, at, path, request, 480),
            _ => self.answers(actor, at, path, request, 200),
        }
    }

    /// Answers a request.
    fn answers(&mut self, actor: Actor, at: Endpoint, path: Path, request: &Sip, status: u16) {
        let before = self.terminal(actor).answers.iter().rev();
        let early = before
            .filter(|(known, _)| {
                (known.branch(), known.method) == (request.branch(), request.method)
            })
            .map(|(known, _)| known.to.tag)
            .next();
        let tag = match early.filter(|tag| *tag != 0) {
            Some(tag) => tag,
            None if status == 100 => 0,
            None => self.choose_tag(actor, request),
        };
        let mut answer = request.answer(status, tag);
        let creates = matches!(request.method, "INVITE" | "SUBSCRIBE" | "REFER");
        if status < 300 && creates {
            answer.contacts = self.setup.contact(actor, self.changes(actor), false).into();
        }
        if request.method == "REGISTER" {
            // A friend's registrar confirms whatever it is asked for.
            answer.contacts = request.contacts.clone();
            answer.expires = request.expires;
        }
        if status / 100 == 2 && creates {
            let target = request.contact().unwrap_or(request.target);
            self.terminal(actor).legs.push(Leg {
                call: request.call,
                local: (request.to.uri, tag),
                remote: (request.from.uri, request.from.tag),
                target,
                cseq: 0,
            });
        }
        if request.method == "BYE" {
            let legs = &mut self.terminal(actor).legs;
            legs.retain(|leg| leg.call != request.call || leg.local.1 != tag);
        }
        let source = match actor {
            Actor::Public if self.setup.answers_elsewhere => self.source(actor),
            // The mapping may have changed since the request came.
            Actor::Victim => self.source(actor),
            _ => at,
        };
        let answers = &mut self.terminal(actor).answers;
        answers.push((answer.clone(), source));
        self.arrives(actor, source, path, answer);
    }

    /// The network delivers an answer again, counted from the newest.
    pub(super) fn answers_again(&mut self, actor: Actor, which: usize) {
        let mut known = self.terminal(actor).answers.iter().rev();
        if let Some((answer, source)) = known.nth(which).cloned() {
            if actor == Actor::Victim {
                self.note_doubt();
            }
            self.arrives(actor, source, Path::Pbx, answer);
        }
    }

    /// Chooses the tag that a terminal writes into To.
    fn choose_tag(&mut self, actor: Actor, request: &Sip) -> Tag {
        let choice = self.terminal(actor).tag;
        match (actor.is_honest(), choice, request.to.tag) {
            (true, _, 0) | (false, TagChoice::Fresh, 0) => self.tag(),
            (true, _, tag) | (false, TagChoice::Fresh | TagChoice::Echo, tag) if tag != 0 => tag,
            (false, TagChoice::Callers, _) => request.from.tag,
            _ => INVENTED,
        }
    }

    /// Reacts to a response.
    fn told(&mut self, actor: Actor, sip: &Sip) {
        if !actor.is_honest() || sip.status < 200 {
            return;
        }
        let now = self.now();
        let terminal = self.terminal(actor);
        let creates = matches!(sip.method, "INVITE" | "SUBSCRIBE" | "REFER");
        match (sip.method, sip.status) {
            ("REGISTER", 401) if sip.cseq == terminal.register_cseq => {
                let Some((mut request, ..)) = terminal.last.clone() else {
                    return;
                };
                if request.method != "REGISTER" || request.cseq != sip.cseq {
                    return;
                }
                terminal.register_cseq += 1;
                terminal.waits_since = Some(now);
                request.cseq += 1;
                request.credentials = Some(actor);
                if let Some(via) = request.vias.last_mut() {
                    via.branch = branch(actor, request.call, request.cseq);
                }
                self.send(actor, request);
            }
            ("REGISTER", 200) if sip.cseq == terminal.register_cseq => {
                terminal.registered = true;
                terminal.waits_since = None;
            }
            ("REGISTER", _) if sip.cseq == terminal.register_cseq => terminal.waits_since = None,
            (_, 200..300) if creates => {
                let known = terminal.legs.iter().rposition(|leg| {
                    (leg.call, leg.local.1, leg.remote.1) == (sip.call, sip.from.tag, sip.to.tag)
                });
                let at = known.unwrap_or_else(|| {
                    terminal.legs.push(Leg {
                        call: sip.call,
                        local: (sip.from.uri, sip.from.tag),
                        remote: (sip.to.uri, sip.to.tag),
                        target: sip.target,
                        cseq: sip.cseq,
                    });
                    terminal.legs.len() - 1
                });
                if let Some(target) = sip.contact() {
                    terminal.legs[at].target = target;
                }
                let leg = terminal.legs[at];
                if sip.method == "INVITE" {
                    let mut ack = self.within(actor, &leg, "ACK");
                    ack.cseq = sip.cseq;
                    self.send(actor, ack);
                }
            }
            _ => {}
        }
    }

    /// A program at the other socket of the PBX's host gets a packet: it accepts every request.
    pub(super) fn local_gets(&mut self, sip: &Sip, source: Endpoint) {
        if sip.status != 0 || sip.method == "ACK" {
            return;
        }
        let tag = if sip.to.tag == 0 {
            INVENTED
        } else {
            sip.to.tag
        };
        let mut answer = sip.answer(200, tag);
        answer.contacts = sip.contacts.clone();
        answer.expires = sip.expires;
        self.leaves(source, Purpose::Foreign, answer);
    }

    /// Sends a packet of an attacker.
    pub(super) fn attack(&mut self, by: Actor, transit: Transit, path: Path, sip: Sip) {
        let source = self.source(by);
        self.post(Event::Arrives {
            by,
            source,
            path,
            transit,
            sip,
        });
    }
}
