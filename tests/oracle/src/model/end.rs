//! End of a story: the attackers have gone, the terminals speak, and are reached.

use nat_common::abi::SECOND;

use super::actor::Actor;
use super::input::{Callee, Honest, Inner, Mood, Registrar, Removal};
use super::sip::Place;
use super::state::Terminal;
use super::world::World;

/// Transmissions of which one arrives, if somebody has answered at the original destination.
const TRANSMISSIONS: u32 = 3;

/// Time between two transmissions.
const INTERVAL: u64 = SECOND * 6 / 10;

impl World {
    /// Ends a story.
    pub(super) fn end(&mut self) {
        self.tell(|| "End: the attackers have gone".into());
        for actor in [
            Actor::Outsider,
            Actor::Account,
            Actor::Friend,
            Actor::Neighbour,
            Actor::Local,
        ] {
            self.terminal(actor).mood = Mood::Silent;
        }
        for actor in [Actor::Victim, Actor::Public, Actor::Trunk, Actor::Registrar] {
            let Terminal {
                changes,
                register_cseq,
                ..
            } = *self.terminal(actor);
            *self.terminal(actor) = Terminal {
                changes,
                register_cseq,
                ..Terminal::default()
            };
        }
        for client in &mut self.pbx.clients {
            client.cancelled = true;
        }
        for dialog in &mut self.pbx.dialogs {
            dialog.ended = true;
        }
        self.pbx.mood = Mood::Answer;
        // Transactions of the attackers are forgotten.
        self.wait(40 * SECOND);
        if self.setup.registrar != Registrar::Unnamed || !self.setup.proxy {
            self.finds(Honest::Victim, Callee::Victim);
        }
        if self.failure.is_none() {
            self.finds(Honest::Public, Callee::Public);
        }
    }

    /// A terminal registers, is called, and gets a request within the call.
    fn finds(&mut self, who: Honest, callee: Callee) {
        let actor = who.into();
        self.register(who, Removal::None, false);
        self.run();
        for _ in 0..2 * TRANSMISSIONS {
            if self.terminal(actor).registered {
                break;
            }
            self.wait(INTERVAL);
            self.repeats(actor);
            self.run();
        }
        if self.failure.is_some() {
            return;
        }
        if !self.terminal(actor).registered {
            return self.fail(format!("{actor:?} registers, and gets no answer"));
        }
        let before = self.pbx.clients.len();
        if self.setup.proxy {
            self.calls(Actor::Trunk, callee, "INVITE", false);
        } else {
            self.pbx_calls(callee, "INVITE");
        }
        self.run();
        if self.is_found_by_contact(actor) && !self.arrives_at_last(actor, before) {
            return;
        }
        let mut called = self.pbx.clients[before..].iter();
        if !called.any(|client| client.status == 200) {
            return;
        }
        let before = self.pbx.clients.len();
        if self.setup.proxy {
            self.sends_inner(Actor::Trunk, 0, Inner::Invite);
        } else {
            self.pbx_inner(0, Inner::Invite);
        }
        self.run();
        self.arrives_at_last(actor, before);
    }

    /// Repeats the requests from a number on until one is answered. Fails if none is.
    fn arrives_at_last(&mut self, actor: Actor, from: usize) -> bool {
        // A refusal that is another terminal's does not make the victim wait.
        let is_alone = actor == Actor::Victim && !self.watch.somebody_accepted;
        let transmissions = TRANSMISSIONS - u32::from(is_alone);
        for sent in 1..=transmissions {
            if self.failure.is_some() {
                return false;
            }
            let clients = &self.pbx.clients[from..];
            if clients.is_empty() || clients.iter().any(|client| client.status >= 200) {
                return true;
            }
            if sent == transmissions {
                break;
            }
            self.wait(INTERVAL);
            for at in from..self.pbx.clients.len() {
                self.transmit(at);
            }
            self.run();
        }
        let client = &self.pbx.clients[from];
        let to = Place(&client.sent_to).to_string();
        self.fail(format!(
            "{actor:?} has spoken, and {transmissions} transmissions do not reach it; the last went to {to}"
        ));
        false
    }

    /// Whether requests by contact are to reach a terminal.
    fn is_found_by_contact(&self, actor: Actor) -> bool {
        if actor == Actor::Victim && !self.is_alone() {
            return false;
        }
        if actor != Actor::Victim || !self.setup.uri_in_to {
            return true;
        }
        // Another account can claim a Contact URI, unless it has the user of the victim's account. Who answers there gets
        // what the PBX sends there, as without sipnat.
        self.outranks() && !self.watch.somebody_answered
    }
}
