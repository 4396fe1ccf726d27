//! A PBX that is a back-to-back user agent: it keeps dialogs, and answers requests itself.

use nat_common::abi::SECOND;
use nat_common::endpoint::Endpoint;

use super::actor::Actor;
use super::address::{DOMAIN, GROUP};
use super::input::{Callee, Inner, Mood, Removal, Responses};
use super::sip::{Branch, Call, Contacts, NUMBER, PBX, Party, Sip, TRUNK_NUMBER, Tag, Uri, Via};
use super::state::{Client, Dialog, Registered, Server};
use super::world::{Purpose, World};

/// Time for which the PBX knows a transaction: 64 * T1 (RFC 3261 17).
const LIFE: u64 = 32 * SECOND;

/// Seconds for which a contact is accepted.
const EXPIRES: u32 = 3600;

/// Caller whom the PBX names.
const CALLER: Uri = Uri::named("3000", DOMAIN);

/// Contact of the PBX.
const CONTACT: Uri = Uri::at("pbx", PBX);

impl Inner {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Bye => "BYE",
            Self::Info => "INFO",
            Self::Notify => "NOTIFY",
        }
    }
}

impl World {
    /// The PBX gets a request.
    pub(super) fn pbx_asked(&mut self, sip: Sip, source: Endpoint, by: Actor) {
        if by == Actor::Victim && sip.to.tag != 0 {
            self.note_progress(&sip, source);
        }
        if sip.method == "ACK" {
            if self.setup.proxy && sip.to.tag != 0 {
                self.relay_ack(&sip, by);
            }
            return;
        }
        let key = (sip.branch(), sip.method, sip.call, sip.cseq);
        let now = self.now();
        let mut servers = self.pbx.servers.iter();
        if let Some(at) = servers.rposition(|known| known.key == key && now < known.began + LIFE) {
            self.note_repeated(at, &sip);
            if let Some(last) = self.pbx.servers[at].last.clone() {
                let server = &mut self.pbx.servers[at];
                server.repeats += u32::from(server.sent > 0);
                self.send_response(at, last);
            }
            return;
        }
        let (method, is_inner) = (sip.method, sip.to.tag != 0);
        let tag = self.answering_tag(&sip);
        let at = self.pbx.servers.len();
        self.pbx.servers.push(Server {
            key,
            began: now,
            by,
            source,
            request: sip,
            last: None,
            sent: 0,
            was_final: false,
            repeats: 0,
            missed: 0,
            tag,
            dialog: None,
            is_known: false,
        });
        if (self.setup.proxy || self.is_register_for_others(at)) && self.relays(at) {
            return;
        }
        match method {
            "REGISTER" => self.register_asked(at),
            _ if is_inner => self.inner_asked(at),
            "INVITE" | "SUBSCRIBE" | "REFER" => self.outer_asked(at),
            "OPTIONS" => self.respond(at, 200, Contacts::None),
            _ => self.respond(at, 481, Contacts::None),
        }
    }

    /// Tag of the PBX in its responses to a request.
    fn answering_tag(&mut self, sip: &Sip) -> Tag {
        let named = (sip.call, sip.from.tag);
        let mut servers = self.pbx.servers.iter();
        let known = servers.find(|known| (known.request.call, known.request.from.tag) == named);
        match known.filter(|_| self.setup.derived_tags) {
            Some(known) => known.tag,
            None => self.tag(),
        }
    }

    /// Answers a REGISTER.
    fn register_asked(&mut self, at: usize) {
        let request = self.pbx.servers[at].request.clone();
        match self.registrar_answer(&request) {
            Ok(contacts) => self.respond(at, 200, contacts),
            Err(status) => self.respond(at, status, Contacts::None),
        }
    }

    /// Decides on a REGISTER as the registrar does. Returns the contacts for its 200, or another status.
    pub(super) fn registrar_answer(&mut self, request: &Sip) -> Result<Contacts, u16> {
        let aor = request.to.uri;
        let owner = request.credentials.ok_or(401_u16)?;
        if self.setup.account(owner) != aor || !has_account(owner) {
            return Err(403);
        }
        let now = self.now();
        let contacts = &mut self.pbx.contacts;
        contacts.retain(|known| known.expires > now);
        match &request.contacts {
            Contacts::None => {}
            Contacts::Star => contacts.retain(|known| known.aor != aor),
            Contacts::Uris(uris) => {
                for (uri, seconds) in uris {
                    let seconds = granted(request, *seconds);
                    contacts.retain(|known| (known.aor, known.uri) != (aor, *uri));
                    if seconds != 0 {
                        contacts.push(Registered {
                            aor,
                            uri: *uri,
                            owner,
                            expires: now + u64::from(seconds) * SECOND,
                        });
                    }
                }
            }
        }
        let left = |known: &Registered| (known.expires - now).div_ceil(SECOND) as u32;
        let own = contacts.iter().filter(|known| known.aor == aor);
        Ok(Contacts::Uris(
            own.map(|known| (known.uri, Some(left(known)))).collect(),
        ))
    }

    /// Answers a request within a dialog.
    fn inner_asked(&mut self, at: usize) {
        let Server { request, by, .. } = &self.pbx.servers[at];
        let (request, by) = (request.clone(), *by);
        let Some(dialog) = self.pbx.dialogs.iter_mut().find(|dialog| {
            !dialog.ended
                && dialog.call == request.call
                && dialog.remote.1 == request.from.tag
                && dialog.local.1 == request.to.tag
        }) else {
            return self.respond(at, 481, Contacts::None);
        };
        dialog.taken |= by != dialog.peer;
        let mut contacts = Contacts::None;
        match request.method {
            "INVITE" | "SUBSCRIBE" => {
                dialog.target = request.contact().unwrap_or(dialog.target);
                contacts = CONTACT.into();
            }
            "BYE" => dialog.ended = true,
            _ => {}
        }
        self.respond(at, 200, contacts);
    }

    /// Answers a request that may create a dialog.
    fn outer_asked(&mut self, at: usize) {
        let Server { request, by, .. } = &self.pbx.servers[at];
        if !may_call(request, *by) {
            return self.respond(at, 401, Contacts::None);
        }
        let subscribes = request.method != "INVITE";
        if subscribes && self.setup.early_notify {
            let dialog = self.begin_dialog(at);
            self.send_inner(dialog, "NOTIFY");
        }
        match self.pbx.mood {
            Mood::Silent | Mood::Slow => {}
            Mood::Trying => self.respond(at, 100, Contacts::None),
            Mood::Ring if !subscribes => {
                self.begin_dialog(at);
                self.respond(at, 180, CONTACT.into());
            }
            Mood::Refuse => self.respond(at, 486, Contacts::None),
            Mood::Answer | Mood::Ring => {
                let dialog = self.begin_dialog(at);
                self.respond(at, 200, CONTACT.into());
                if subscribes {
                    self.send_inner(dialog, "NOTIFY");
                }
            }
        }
    }

    /// Stores the dialog that a terminal's request creates. Returns its number.
    fn begin_dialog(&mut self, at: usize) -> usize {
        let server = &mut self.pbx.servers[at];
        if let Some(known) = server.dialog {
            return known;
        }
        let new = self.pbx.dialogs.len();
        server.dialog = Some(new);
        let request = &server.request;
        self.pbx.dialogs.push(Dialog {
            call: request.call,
            local: (request.to.uri, server.tag),
            remote: (request.from.uri, request.from.tag),
            target: request
                .contact()
                .unwrap_or_else(|| Uri::at("none", server.source)),
            cseq: 0,
            peer: server.by,
            caller: None,
            ended: false,
            taken: false,
        });
        new
    }

    /// Answers the oldest request that has no final answer yet.
    pub(super) fn pbx_answers(&mut self, refuse: bool) {
        let mut servers = self.pbx.servers.iter();
        let waits = |server: &Server| {
            !server.is_final()
                && server.request.to.tag == 0
                && matches!(server.request.method, "INVITE" | "SUBSCRIBE" | "REFER")
        };
        let Some(at) = servers.position(waits) else {
            return;
        };
        if self.setup.proxy || refuse {
            return self.respond(at, 486, Contacts::None);
        }
        self.begin_dialog(at);
        self.respond(at, 200, CONTACT.into());
    }

    /// Repeats a final answer: to an INVITE, as a PBX does that gets no ACK, or to a REGISTER that the network delivers
    /// twice. A transaction that another one of the same name followed is over.
    pub(super) fn pbx_again(&mut self, which: usize) {
        let all = &self.pbx.servers;
        let servers = all.iter().enumerate().rev();
        let mut finals = servers.filter(|(at, server)| {
            matches!(server.key.1, "INVITE" | "REGISTER")
                && server.is_final()
                && all[at + 1..].iter().all(|later| later.key != server.key)
        });
        if let Some((at, server)) = finals.nth(which)
            && let Some(last) = server.last.clone()
        {
            self.send_response(at, last);
        }
    }

    /// Sends a response of the PBX's own.
    pub(super) fn respond(&mut self, at: usize, status: u16, contacts: Contacts) {
        let server = &self.pbx.servers[at];
        let tag = match (server.request.to.tag, status) {
            (0, 100) => 0,
            (0, _) => server.tag,
            (known, _) => known,
        };
        let mut answer = server.request.answer(status, tag);
        answer.contacts = contacts;
        self.send_response(at, answer);
    }

    /// Sends a response to where the transaction's Via says.
    pub(super) fn send_response(&mut self, at: usize, answer: Sip) {
        let server = &mut self.pbx.servers[at];
        let Some(via) = server.request.vias.last() else {
            return;
        };
        let mut to = via.sent_by;
        match self.setup.responses {
            Responses::Rport if via.rport => to = server.source,
            Responses::Received | Responses::Rport => to.addr = server.source.addr,
            Responses::Strict => {}
        }
        server.last = Some(answer.clone());
        self.leaves(to, Purpose::Response(at), answer);
    }

    /// Returns the terminals that a call reaches: Contact URI, actor and address-of-record.
    pub(super) fn bindings_of(&self, aor: &Uri) -> Vec<(Uri, Actor, Uri)> {
        let trunk = self.setup.account(Actor::Trunk);
        let contact = self.setup.contact(Actor::Trunk, 0, false);
        if *aor == trunk {
            return vec![(contact, Actor::Trunk, trunk)];
        }
        if *aor == self.callee(Callee::TrunkNumber) {
            return vec![(contact.of_user(TRUNK_NUMBER), Actor::Trunk, *aor)];
        }
        if *aor == self.callee(Callee::Number) {
            let gateway = self.bindings_of(&self.callee(Callee::Victim)).into_iter();
            return gateway
                .map(|(uri, actor, _)| (uri.of_user(NUMBER), actor, *aor))
                .collect();
        }
        let is_group = *aor == Uri::named(GROUP, DOMAIN);
        let contacts = self.pbx.contacts.iter();
        contacts
            .filter(|known| (is_group || known.aor == *aor) && known.expires > self.now())
            .map(|known| (known.uri, known.owner, known.aor))
            .collect()
    }

    /// Address-of-record that a callee is called by.
    pub(super) fn callee(&self, to: Callee) -> Uri {
        match to {
            Callee::Victim => self.setup.account(Actor::Victim),
            Callee::Public => self.setup.account(Actor::Public),
            Callee::Trunk => self.setup.account(Actor::Trunk),
            Callee::Account => self.setup.account(Actor::Account),
            Callee::Friend => self.setup.account(Actor::Friend),
            Callee::Group => Uri::named(GROUP, DOMAIN),
            Callee::Number => Uri::named(NUMBER, DOMAIN),
            Callee::TrunkNumber => Uri::named(TRUNK_NUMBER, DOMAIN),
        }
    }

    /// Calls, or asks whether a terminal is there.
    pub(super) fn pbx_calls(&mut self, to: Callee, method: &'static str) {
        let call = self.call();
        for (uri, actor, aor) in self.bindings_of(&self.callee(to)) {
            let branch = self.branch();
            let by_number = uri.is_number();
            let named = if self.setup.uri_in_to || by_number {
                self.setup.in_to(uri)
            } else {
                aor
            };
            let from = Party {
                uri: CALLER,
                tag: call,
            };
            let to = Party { uri: named, tag: 0 };
            let request = own_request(method, uri, branch, [from, to], call, 1);
            let weak = self.setup.uri_in_to || by_number || actor == Actor::Trunk;
            self.send_request(request, uri.place, Some(actor), None, weak);
        }
    }

    /// Opens a client transaction of the PBX's own. Returns its number.
    fn send_request(
        &mut self,
        request: Sip,
        to: Endpoint,
        meant: Option<Actor>,
        dialog: Option<usize>,
        weak: bool,
    ) -> usize {
        let taken = dialog.is_some_and(|dialog| self.pbx.dialogs[dialog].taken);
        self.open(Client {
            request,
            to,
            meant,
            origin: None,
            server: None,
            dialog,
            weak,
            transmissions: 0,
            began: self.now(),
            sent_at: 0,
            status: 0,
            missed: 0,
            sent_to: to,
            learned: Endpoint::UNKNOWN,
            cancelled: false,
            tried: false,
            taken,
        })
    }

    /// Stores a client transaction, and sends its request. Returns its number.
    pub(super) fn open(&mut self, client: Client) -> usize {
        self.pbx.clients.push(client);
        let at = self.pbx.clients.len() - 1;
        self.transmit(at);
        at
    }

    /// Sends the request of a client transaction, once more if it was sent before.
    pub(super) fn transmit(&mut self, at: usize) {
        let now = self.now();
        let client = &mut self.pbx.clients[at];
        client.transmissions += 1;
        client.sent_at = now;
        let (to, request) = (client.to, client.request.clone());
        self.leaves(to, Purpose::Request(at), request);
    }

    /// Repeats the request that is unanswered, counted from the newest.
    pub(super) fn pbx_repeats(&mut self, which: usize) {
        let now = self.now();
        let clients = self.pbx.clients.iter().enumerate().rev();
        let mut open = clients.filter(|(_, client)| {
            client.is_open()
                && client.status == 0
                && !client.request.unseen
                && now < client.began + LIFE
        });
        if let Some((at, _)) = open.nth(which) {
            self.transmit(at);
        }
    }

    /// Sends a request within a dialog that lasts, counted from the newest.
    pub(super) fn pbx_inner(&mut self, which: usize, method: Inner) {
        let dialogs = self.pbx.dialogs.iter().enumerate().rev();
        let mut live = dialogs.filter(|(_, dialog)| !dialog.ended && dialog.caller.is_none());
        if let Some((at, _)) = live.nth(which) {
            self.send_inner(at, method.name());
        }
    }

    fn send_inner(&mut self, at: usize, method: &'static str) {
        let branch = self.branch();
        let dialog = &mut self.pbx.dialogs[at];
        dialog.cseq += 1;
        dialog.ended |= method == "BYE";
        let end = (dialog.call, dialog.remote.1, dialog.local.1);
        if method == "BYE" {
            self.watch.heard.remove(&end);
        }
        let dialog = &mut self.pbx.dialogs[at];
        let (request, to, meant) = (
            dialog.request(method, branch),
            dialog.target.place,
            dialog.peer,
        );
        self.send_request(request, to, Some(meant), Some(at), false);
    }

    /// Cancels a call, counted from the newest.
    pub(super) fn pbx_cancels(&mut self, which: usize) {
        let clients = self.pbx.clients.iter().enumerate().rev();
        let mut open = clients.filter(|(_, client)| {
            client.is_open() && client.request.method == "INVITE" && client.dialog.is_none()
        });
        if let Some((at, _)) = open.nth(which) {
            self.cancel(at);
        }
    }

    /// Cancels an INVITE, as soon as a provisional response is there (RFC 3261 9.1).
    pub(super) fn cancel(&mut self, at: usize) {
        let client = &mut self.pbx.clients[at];
        client.cancelled = true;
        if client.status >= 100 {
            self.follow(at, "CANCEL", 0);
        }
    }

    /// Sends a CANCEL, or an ACK to a failure, after an INVITE.
    pub(super) fn follow(&mut self, at: usize, method: &'static str, tag: Tag) {
        let client = &self.pbx.clients[at];
        let mut request = client.request.clone();
        request.vias = request.vias.split_off(request.vias.len() - 1);
        request.method = method;
        request.contacts = Contacts::None;
        request.record_route = false;
        if request.to.tag == 0 {
            request.to.tag = tag;
        }
        self.leaves(client.to, Purpose::Follow(at), request);
    }

    /// The PBX gets a response.
    pub(super) fn pbx_told(&mut self, sip: &Sip, source: Endpoint, by: Actor) {
        let clients = &mut self.pbx.clients;
        let Some(at) = clients.iter().rposition(|client| {
            (client.request.branch(), client.request.method) == (sip.branch(), sip.method)
        }) else {
            return self.relay_stray(sip);
        };
        let client = &mut clients[at];
        // Who shares the terminal's address could be the terminal, which answers from another port.
        client.taken |= Some(by) != client.meant && source.addr == client.sent_to.addr;
        if sip.status < client.status || client.status >= 200 && sip.status >= 300 {
            return self.note_public(at, by, source);
        }
        self.note_answer(at, by, source, sip.status);
        if by == Actor::Victim && sip.method == "INVITE" && sip.status / 100 == 2 {
            self.note_accepts(at, sip, source);
        }
        let client = &mut self.pbx.clients[at];
        let was_open = client.status < 200;
        client.status = sip.status;
        let (is_invite, cancelled, server) =
            (sip.method == "INVITE", client.cancelled, client.server);
        if is_invite && sip.status >= 300 {
            self.follow(at, "ACK", sip.to.tag);
        } else if is_invite && cancelled && sip.status < 200 {
            self.follow(at, "CANCEL", 0);
        }
        if let Some(server) = server {
            self.relay_response(at, server, sip, by);
        } else if is_invite && sip.status / 100 == 2 {
            self.answered(at, sip, by, was_open);
        } else if sip.status == 481
            && let Some(dialog) = self.pbx.clients[at].dialog
        {
            self.pbx.dialogs[dialog].ended = true;
        }
        if is_invite && was_open && sip.status / 100 == 2 {
            self.cancel_siblings(at);
        }
    }

    /// Takes a 2xx to an INVITE: its dialog begins or goes on, and an ACK is sent.
    fn answered(&mut self, at: usize, sip: &Sip, by: Actor, is_first: bool) {
        let client = &self.pbx.clients[at];
        let known = client.dialog.or_else(|| {
            let mut dialogs = self.pbx.dialogs.iter();
            dialogs.position(|dialog| {
                (dialog.call, dialog.local.1, dialog.remote.1)
                    == (sip.call, sip.from.tag, sip.to.tag)
            })
        });
        // A call to an attacker's account is his to send where he likes.
        let taken = client.taken || client.meant.is_some_and(|meant| !meant.is_honest());
        let number = known.unwrap_or_else(|| {
            self.pbx.dialogs.push(Dialog {
                call: sip.call,
                local: (sip.from.uri, sip.from.tag),
                remote: (sip.to.uri, sip.to.tag),
                target: client.request.target,
                cseq: 1,
                peer: by,
                caller: None,
                ended: false,
                taken,
            });
            self.pbx.dialogs.len() - 1
        });
        let branch = self.branch();
        let dialog = &mut self.pbx.dialogs[number];
        if is_first || known.is_none() {
            dialog.target = sip.contact().unwrap_or(dialog.target);
        }
        dialog.taken |= by != dialog.peer;
        let mut ack = dialog.request("ACK", branch);
        ack.cseq = sip.cseq;
        let (to, purpose) = (
            dialog.target.place,
            Purpose::Ack(Some(dialog.peer), !dialog.taken),
        );
        self.leaves(to, purpose, ack);
    }

    /// Cancels the other branches of a forked call.
    fn cancel_siblings(&mut self, at: usize) {
        let (call, tag) = (
            self.pbx.clients[at].request.call,
            self.pbx.clients[at].request.from.tag,
        );
        for other in 0..self.pbx.clients.len() {
            let client = &self.pbx.clients[other];
            if other != at
                && client.is_open()
                && client.request.method == "INVITE"
                && client.request.to.tag == 0
                && (client.request.call, client.request.from.tag) == (call, tag)
            {
                self.cancel(other);
            }
        }
    }
}

/// Request of the PBX's own, under its Via alone.
fn own_request(
    method: &'static str,
    target: Uri,
    branch: Branch,
    [from, to]: [Party; 2],
    call: Call,
    cseq: u32,
) -> Sip {
    Sip {
        method,
        status: 0,
        target,
        route: None,
        record_route: false,
        vias: vec![Via {
            sent_by: PBX,
            rport: true,
            branch,
        }],
        from,
        to,
        call,
        cseq,
        contacts: CONTACT.into(),
        expires: None,
        credentials: None,
        unseen: false,
    }
}

impl Dialog {
    /// Request of the local party within the dialog.
    fn request(&self, method: &'static str, branch: u32) -> Sip {
        let parties = [self.local, self.remote].map(|(uri, tag)| Party { uri, tag });
        own_request(method, self.target, branch, parties, self.call, self.cseq)
    }
}

impl Removal {
    /// Contacts of a REGISTER.
    pub(super) fn contacts(self, uri: Uri) -> Contacts {
        match self {
            Self::None => uri.into(),
            Self::Star => Contacts::Star,
            Self::Zero => Contacts::Uris(vec![(uri, Some(0))]),
        }
    }
}

/// Seconds for which a contact of a REGISTER is accepted. Zero: it is removed.
pub(super) fn granted(request: &Sip, seconds: Option<u32>) -> u32 {
    seconds.or(request.expires).unwrap_or(EXPIRES).min(EXPIRES)
}

/// Whether an actor has an account.
const fn has_account(actor: Actor) -> bool {
    matches!(
        actor,
        Actor::Victim | Actor::Public | Actor::Account | Actor::Friend | Actor::Neighbour
    )
}

/// Whether the PBX takes a call: from an account, or from the trunk's address.
pub(super) fn may_call(request: &Sip, by: Actor) -> bool {
    by == Actor::Trunk || request.credentials.is_some_and(has_account)
}
