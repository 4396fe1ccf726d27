//! Messages of attackers. Call-IDs, the tags of callers, and branches can be guessed; tags of answers cannot.

use super::actor::Actor;
use super::address::{DOMAIN, GROUP};
use super::input::{
    Attack, ContactChoice, Forged, Forgery, FromTag, Outer, Party as Role, Registrar, RouteChoice,
    Slip, Target, ToTag, Transit,
};
use super::sip::{Call, Contacts, PBX, Party, Sip, Tag, Uri, Via};
use super::terminal::{INVENTED, branch, is_secret, registrant, registration};
use super::world::{Path, Purpose, World};

/// Call-ID of an attacker's own call.
const OWN_CALL: Call = 600;

/// First branch of attackers.
const OWN_BRANCHES: u32 = 20_000_000;

impl Outer {
    const fn name(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::Invite => "INVITE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Info => "INFO",
            Self::Bye => "BYE",
            Self::Notify => "NOTIFY",
            Self::Options => "OPTIONS",
            Self::Refer => "REFER",
        }
    }
}

impl Forged {
    const fn status(self) -> u16 {
        match self {
            Self::Trying => 100,
            Self::Ringing => 180,
            Self::Ok => 200,
            Self::Progress => 183,
            Self::Moved => 302,
            Self::Busy => 486,
            Self::Challenge => 401,
            Self::Gone => 481,
        }
    }
}

/// Actor that an attacker names.
const fn actor(party: Role, by: Actor) -> Actor {
    match party {
        Role::Own => by,
        Role::Victim => Actor::Victim,
        Role::Public => Actor::Public,
        Role::Trunk => Actor::Trunk,
    }
}

impl World {
    /// An attacker sends a request.
    pub(super) fn attacks(&mut self, attack: &Attack) {
        let by = attack.by.into();
        let call = self.guessed_call(attack.call.0);
        let register = matches!(attack.method, Outer::Register);
        // The next REGISTER of a terminal has the next number.
        let first = match registrant(call) {
            Some(actor) => self.terminal(actor).register_cseq,
            None => 0,
        };
        let cseq = first + u32::from(attack.cseq.0);
        let party = actor(attack.party, by);
        let aor = self.setup.account(party);
        let from_tag = match attack.from_tag {
            FromTag::Public => call,
            FromTag::Learned => self.learned_tag(),
            FromTag::Invented => INVENTED + 1,
        };
        let target = self.target(attack.target);
        let friend = self.setup.contact(Actor::Friend, 0, false);
        let registrar = self.setup.contact(Actor::Registrar, 0, false);
        let sip = Sip {
            method: attack.method.name(),
            status: 0,
            target,
            route: match attack.route {
                RouteChoice::None => None,
                RouteChoice::Friend | RouteChoice::Unseen => Some(friend),
                RouteChoice::Registrar => Some(registrar),
            },
            record_route: false,
            vias: vec![Via {
                sent_by: self.source(by),
                rport: false,
                branch: if attack.guessed_branch {
                    branch(party, call, cseq)
                } else {
                    OWN_BRANCHES + branch(by, call, cseq)
                },
            }],
            from: Party {
                uri: aor,
                tag: from_tag,
            },
            to: Party {
                uri: if register { aor } else { target },
                tag: self.chosen_tag(attack.to_tag, call),
            },
            call,
            cseq,
            contacts: self.chosen_contacts(by, attack.contact, register),
            expires: matches!(attack.contact, ContactChoice::Star).then_some(0),
            credentials: attack.credentials.then_some(by),
            unseen: matches!(attack.route, RouteChoice::Unseen),
        };
        if matches!(attack.transit, Transit::Right | Transit::Filtered)
            && matches!(attack.method, Outer::Subscribe | Outer::Refer)
            && !attack.other_socket
        {
            self.note_subscribes(by, call, from_tag);
        }
        if register && !attack.other_socket {
            self.registers.push((by, sip.clone()));
        }
        if by == Actor::Local {
            let to = self.source(Actor::Account);
            return self.leaves(to, Purpose::Foreign, sip);
        }
        let path = if attack.other_socket {
            Path::Other
        } else {
            Path::Pbx
        };
        self.attack(by, attack.transit, path, sip);
    }

    /// An attacker answers a request of the PBX that was sent to somebody else: he has guessed the branch.
    pub(super) fn forges(&mut self, forgery: &Forgery) {
        let by = forgery.by.into();
        let at = self
            .pbx
            .clients
            .len()
            .checked_sub(1 + usize::from(forgery.which.0));
        let source = self.source(by);
        let Some(client) = at.map(|at| &mut self.pbx.clients[at]) else {
            return;
        };
        let counts = matches!(forgery.transit, Transit::Right | Transit::Filtered);
        // From that address, it could be the terminal's answer from another port.
        if counts && source.addr == client.sent_to.addr {
            client.taken = true;
            self.watch.somebody_answered = true;
        }
        let request = client.request.clone();
        let tag = match forgery.to_tag {
            // He does not know the tag of the terminal's end.
            ToTag::None if request.to.tag != 0 => INVENTED,
            choice => self.chosen_tag(choice, request.call),
        };
        let mut sip = request.answer(forgery.status.status(), tag);
        if is_secret(sip.from.tag) && !self.learned_tags.contains(&sip.from.tag) {
            sip.from.tag = INVENTED;
        }
        sip.contacts = self.chosen_contact(by, forgery.contact, false);
        let path = if by == Actor::Local {
            Path::Other
        } else {
            Path::Pbx
        };
        self.attack(by, forgery.transit, path, sip);
    }

    /// The friend answers an attacker's REGISTER. The PBX relays the answer: it has sent the REGISTER to the friend, or is a
    /// proxy (RFC 3261 16.7).
    pub(super) fn slips(&mut self, slip: &Slip) {
        let number = 1 + usize::from(slip.which.0);
        let Some(at) = self.registers.len().checked_sub(number) else {
            return;
        };
        let (by, request) = self.registers[at].clone();
        if registrant(request.call).is_some() || self.names_another(&request.to.uri) {
            // Nobody knows the Call-ID of another terminal's registration.
            return;
        }
        let status = slip.status.status();
        let mut answer = request.answer(status, request.to.tag.max(INVENTED));
        answer.to.uri = match slip.party {
            Role::Own => answer.to.uri,
            Role::Victim => self.setup.account(Actor::Victim),
            // The model knows claims of the victim's contact only.
            Role::Public | Role::Trunk => return,
        };
        answer.contacts = request.contacts.clone();
        answer.expires = request.expires;
        let mut clients = self.pbx.clients.iter();
        let sent_on = clients.rfind(|client| {
            client.request.vias.first().map(|via| via.branch) == Some(request.branch())
        });
        answer.vias.push(Via {
            sent_by: PBX,
            rport: false,
            branch: sent_on.map_or(OWN_BRANCHES, |client| client.request.branch()),
        });
        let is_seen = sent_on.is_some() && self.setup.registrar != Registrar::Named || slip.seen;
        if !is_seen && status / 100 == 2 {
            self.note_slip(by, &request, &answer);
        }
        let path = if slip.seen { Path::Pbx } else { Path::Unseen };
        self.attack(Actor::Friend, Transit::Right, path, answer);
    }

    /// Call-ID that an attacker knows or guesses.
    fn guessed_call(&self, choice: u8) -> Call {
        match choice {
            15 => registration(Actor::Victim),
            14 => registration(Actor::Public),
            13 => OWN_CALL,
            12 => OWN_CALL + 1,
            back => (self.next_call + 1).saturating_sub(back.into()),
        }
    }

    fn learned_tag(&self) -> Tag {
        self.learned_tags.last().copied().unwrap_or(INVENTED)
    }

    fn chosen_tag(&self, choice: ToTag, call: Call) -> Tag {
        match choice {
            ToTag::None => 0,
            ToTag::Invented => INVENTED,
            ToTag::Learned => self.learned_tag(),
            ToTag::Public => call,
        }
    }

    fn target(&self, target: Target) -> Uri {
        let contact = |actor| self.setup.contact(actor, self.changes(actor), true);
        match target {
            Target::Pbx => Uri::named("", DOMAIN),
            Target::Friend => contact(Actor::Friend),
            Target::Victim => contact(Actor::Victim),
            Target::Public => contact(Actor::Public),
            Target::Trunk => contact(Actor::Trunk),
            Target::VictimAor => self.setup.account(Actor::Victim),
            Target::AccountAor => self.setup.account(Actor::Account),
            Target::GroupAor => Uri::named(GROUP, DOMAIN),
        }
    }

    /// Contacts of an attacker's request.
    fn chosen_contacts(&self, by: Actor, choice: ContactChoice, registers: bool) -> Contacts {
        let mut contacts = self.chosen_contact(by, choice, registers);
        if let Contacts::Uris(uris) = &mut contacts
            && registers
            && self.setup.several_contacts
        {
            let own = self.setup.contact(by, self.changes(by), true);
            uris.insert(0, (own, None));
        }
        contacts
    }

    fn chosen_contact(&self, by: Actor, choice: ContactChoice, registers: bool) -> Contacts {
        let contact = |actor| self.setup.contact(actor, self.changes(actor), registers);
        match choice {
            ContactChoice::Own => contact(by).into(),
            ContactChoice::Victim => contact(Actor::Victim).into(),
            ContactChoice::Public => contact(Actor::Public).into(),
            ContactChoice::Trunk => contact(Actor::Trunk).into(),
            ContactChoice::None => Contacts::None,
            ContactChoice::Star => Contacts::Star,
            ContactChoice::OwnExpires => Contacts::Uris(vec![(contact(by), Some(0))]),
            ContactChoice::VictimExpires => Contacts::Uris(vec![(contact(Actor::Victim), Some(0))]),
        }
    }
}
