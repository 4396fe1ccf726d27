//! A PBX that relays: it finds the callee's contacts, and passes on what lies within dialogs that it does not know.

use nat_common::endpoint::Endpoint;

use super::actor::Actor;
use super::address::DOMAIN;
use super::input::Registrar;
use super::pbx::may_call;
use super::sip::{Contacts, PBX, Sip, Uri, Via};
use super::state::{Client, Dialog};
use super::world::{Purpose, World};

/// Next hop of a request: its Request-URI, its destination, and the actor that is meant.
struct Hop {
    target: Uri,
    to: Endpoint,
    meant: Option<Actor>,
    /// Only its Contact URI names the terminal.
    weak: bool,
}

impl World {
    /// Relays the request of a server transaction. Returns whether it does, or has refused it.
    pub(super) fn relays(&mut self, at: usize) -> bool {
        let server = &self.pbx.servers[at];
        let (request, by) = (server.request.clone(), server.by);
        let is_inner = request.to.tag != 0;
        let hops = match (request.method, request.route) {
            // As a usual script does: what has a To-tag and a Route needs no account.
            (_, Some(route)) if is_inner => vec![Hop {
                target: request.target,
                to: route.place,
                meant: None,
                weak: false,
            }],
            ("REGISTER", _) => match self.registrar_hop(&request) {
                Some(hop) => vec![hop],
                None => return false,
            },
            _ if is_inner => self.inner_hop(&request, by).into_iter().collect(),
            _ if request.target.is_elsewhere() && may_call(&request, by) => vec![Hop {
                target: request.target,
                to: request.target.place,
                meant: None,
                weak: false,
            }],
            _ if request.from.uri.domain == DOMAIN && !may_call(&request, by) => {
                self.respond(at, 401, Contacts::None);
                return true;
            }
            _ => {
                let bindings = self.bindings_of(&request.target);
                let hops = bindings.into_iter().map(|(uri, actor, aor)| Hop {
                    target: uri,
                    to: uri.place,
                    meant: Some(actor),
                    weak: actor == Actor::Trunk || uri.is_number() || aor != request.to.uri,
                });
                hops.collect()
            }
        };
        if hops.is_empty() {
            self.respond(at, 404, Contacts::None);
        }
        for hop in hops {
            self.relay(at, &request, by, hop);
        }
        true
    }

    /// Whether a PBX that relays no calls relays a REGISTER.
    pub(super) fn is_register_for_others(&self, at: usize) -> bool {
        let request = &self.pbx.servers[at].request;
        let is_inner = request.to.tag != 0;
        let leads_elsewhere = is_inner && request.route.is_some()
            || !is_inner && request.target.is_elsewhere() && request.credentials.is_some();
        self.setup.relays_registers
            && request.method == "REGISTER"
            && leads_elsewhere
            && !self.names_another(&request.to.uri)
    }

    /// Whether an address-of-record is that of an honest terminal other than the victim: the model knows claims of the
    /// victim's contact only.
    pub(super) fn names_another(&self, aor: &Uri) -> bool {
        [Actor::Public, Actor::Trunk]
            .into_iter()
            .any(|other| self.setup.account(other) == *aor)
    }

    /// Next hop of a REGISTER: another domain that an account names, or the registrar behind the PBX.
    fn registrar_hop(&self, request: &Sip) -> Option<Hop> {
        let to = if request.target.is_elsewhere() && request.credentials.is_some() {
            request.target.place
        } else if self.setup.registrar != Registrar::Own {
            self.setup.source(Actor::Registrar, 0)
        } else {
            return None;
        };
        Some(Hop {
            target: request.target,
            to,
            meant: None,
            weak: false,
        })
    }

    /// Next hop of a request within a dialog: its Request-URI is the other party's Contact.
    fn inner_hop(&self, request: &Sip, by: Actor) -> Option<Hop> {
        request.target.is_elsewhere().then(|| Hop {
            target: request.target,
            to: request.target.place,
            meant: self.other_party(request, by),
            weak: false,
        })
    }

    /// Returns the actor at the other end of a dialog that is relayed, for a request of the one at this end.
    fn other_party(&self, request: &Sip, by: Actor) -> Option<Actor> {
        let (from, to) = (request.from.tag, request.to.tag);
        let mut dialogs = self.pbx.dialogs.iter().filter(|d| d.call == request.call);
        dialogs.find_map(|dialog| {
            let caller = dialog.caller?;
            let (caller_tag, callee_tag) = (dialog.local.1, dialog.remote.1);
            if (from, to, by) == (caller_tag, callee_tag, caller) {
                Some(dialog.peer)
            } else {
                ((from, to, by) == (callee_tag, caller_tag, dialog.peer)).then_some(caller)
            }
        })
    }

    fn relay(&mut self, at: usize, request: &Sip, by: Actor, hop: Hop) {
        let branch = self.branch();
        let request = forwarded(request, hop.target, branch);
        self.open(Client {
            request,
            to: hop.to,
            meant: hop.meant,
            origin: Some(by),
            server: Some(at),
            dialog: None,
            weak: hop.weak,
            transmissions: 0,
            began: self.now(),
            sent_at: 0,
            status: 0,
            missed: 0,
            sent_to: hop.to,
            learned: Endpoint::UNKNOWN,
            cancelled: false,
            tried: false,
            taken: false,
        });
    }

    /// Relays an ACK to a 2xx.
    pub(super) fn relay_ack(&mut self, ack: &Sip, by: Actor) {
        let Some(hop) = self.inner_hop(ack, by) else {
            return;
        };
        let branch = self.branch();
        let relayed = forwarded(ack, hop.target, branch);
        self.leaves(hop.to, Purpose::Ack(hop.meant, by.is_honest()), relayed);
    }

    /// Relays a response to a request that the PBX does not know, as a proxy does (RFC 3261 16.7).
    pub(super) fn relay_stray(&mut self, sip: &Sip) {
        let mut relayed = sip.clone();
        relayed.vias.pop();
        relayed.unseen = false;
        if self.setup.proxy
            && let Some(via) = relayed.vias.last()
        {
            self.leaves(via.sent_by, Purpose::Stray, relayed);
        }
    }

    /// Relays a response to the sender of its request.
    pub(super) fn relay_response(&mut self, at: usize, server: usize, sip: &Sip, by: Actor) {
        if sip.status == 100 {
            return;
        }
        let caller = self.pbx.servers[server].by;
        if (sip.method, sip.status) == ("REGISTER", 200) && sip.unseen {
            self.note_unseen(server);
        }
        let meant = self.pbx.clients[at].meant;
        // A call to an attacker's account is his to send where he likes.
        let ours = meant.is_none_or(Actor::is_honest) && !self.pbx.clients[at].taken;
        if ours && sip.method == "INVITE" && sip.status < 300 && sip.to.tag != 0 {
            let known = |dialog: &Dialog| {
                let tags = (dialog.local.1, dialog.remote.1);
                dialog.call == sip.call && tags == (sip.from.tag, sip.to.tag)
            };
            if !self.pbx.dialogs.iter().any(known) {
                self.pbx.dialogs.push(Dialog {
                    call: sip.call,
                    local: (sip.from.uri, sip.from.tag),
                    remote: (sip.to.uri, sip.to.tag),
                    target: self.pbx.clients[at].request.target,
                    cseq: 0,
                    peer: by,
                    caller: Some(caller),
                    ended: false,
                    taken: false,
                });
            }
        }
        let others = self.pbx.clients.iter();
        let waits = others
            .filter(|client| client.server == Some(server))
            .any(|client| client.status < 200);
        if sip.status >= 300 && (waits || self.pbx.servers[server].is_final()) {
            return;
        }
        let mut relayed = sip.clone();
        relayed.vias.pop();
        relayed.unseen = false;
        self.send_response(server, relayed);
    }
}

/// Copy of a request as a proxy sends it.
fn forwarded(request: &Sip, target: Uri, branch: u32) -> Sip {
    let mut relayed = request.clone();
    relayed.target = target;
    relayed.record_route = matches!(request.method, "INVITE" | "SUBSCRIBE" | "REFER");
    relayed.vias.push(Via {
        sent_by: PBX,
        rport: false,
        branch,
    });
    relayed
}
