//! Addresses and accounts of the actors.

use nat_common::endpoint::Endpoint;

use super::actor::Actor;
use super::input::{PublicKind, Setup, TrunkKind, VictimContact};
use super::sip::{NUMBER, Uri};

const fn at(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint::v4(address, port)
}

const NAT: [u8; 4] = [60, 17, 196, 2];
const PUBLIC: [u8; 4] = [198, 51, 100, 7];

/// Port of the NAT without a mapping: what an ALG writes.
pub(super) const NAT_5060: Endpoint = at(NAT, 5060);

/// Address of the victim in its private network.
const PRIVATE: [u8; 4] = [192, 168, 1, 10];

/// First port that the victim's NAT gives it.
const FIRST_MAPPING: u16 = 49163;

/// First port from which the public phone sends.
const FIRST_PORT: u16 = 40000;

impl Setup {
    /// Address and port of the victim in its private network.
    const fn private(&self) -> Endpoint {
        at(PRIVATE, if self.no_port_in_to { 5070 } else { 5060 })
    }

    /// URI as the PBX writes it into To.
    pub(super) const fn in_to(&self, uri: Uri) -> Uri {
        if self.no_port_in_to && uri.domain.is_empty() {
            uri.without_port()
        } else {
            uri
        }
    }

    /// Socket of the PBX's host that is not the PBX's.
    pub(super) const fn other_socket(&self) -> Endpoint {
        if self.other_address {
            at([203, 0, 113, 11], 5060)
        } else {
            at([203, 0, 113, 10], 5062)
        }
    }

    /// Address from which an actor sends, after its mapping has changed a number of times.
    pub(super) const fn source(&self, actor: Actor, changes: u16) -> Endpoint {
        match actor {
            Actor::Victim => at(NAT, FIRST_MAPPING + changes),
            Actor::Public => match self.public {
                PublicKind::TwoPorts => at(PUBLIC, FIRST_PORT),
                PublicKind::NewPorts => at(PUBLIC, FIRST_PORT + changes),
                PublicKind::Front | PublicKind::Vpn => at(PUBLIC, 5060),
            },
            Actor::Trunk => match self.trunk {
                TrunkKind::Public => at([192, 0, 2, 50], 5060),
                TrunkKind::OnLink => at([203, 0, 113, 50], 5060),
                TrunkKind::Private | TrunkKind::Peer => at([10, 0, 0, 5], 5060),
            },
            Actor::Registrar => at([10, 0, 0, 9], 5060),
            Actor::Outsider => at([45, 0, 0, 9], 5060),
            Actor::Account => at([45, 1, 0, 8], 5060),
            Actor::Friend => at([45, 2, 0, 7], 5060),
            Actor::Neighbour if self.owns_5060 => NAT_5060,
            Actor::Neighbour => at(NAT, 41000),
            Actor::Local => self.other_socket(),
        }
    }

    /// Host in an actor's Via.
    pub(super) const fn sent_by(&self, actor: Actor, changes: u16) -> Endpoint {
        match actor {
            Actor::Victim => match self.victim {
                VictimContact::Private => self.private(),
                VictimContact::Alg | VictimContact::AlgInCalls => NAT_5060,
                VictimContact::Mapped => self.source(actor, changes),
            },
            Actor::Public => at(PUBLIC, 5060),
            _ => self.source(actor, changes),
        }
    }

    /// Contact of an actor, in a REGISTER or in a call.
    pub(super) const fn contact(&self, actor: Actor, changes: u16, registers: bool) -> Uri {
        let address = match actor {
            Actor::Victim if registers && matches!(self.victim, VictimContact::AlgInCalls) => {
                self.source(actor, changes)
            }
            Actor::Public => match self.public {
                PublicKind::Front => at([198, 51, 100, 80], 5060),
                PublicKind::Vpn => at([10, 8, 0, 7], 5060),
                PublicKind::TwoPorts | PublicKind::NewPorts => at(PUBLIC, 5060),
            },
            Actor::Account if self.same_address => self.private(),
            _ => self.sent_by(actor, changes),
        };
        let user = match actor {
            Actor::Victim if self.other_user => "x7y",
            Actor::Account if self.claims_number => NUMBER,
            // One tenant's phone has the user of the other's.
            Actor::Account if self.tenant => "1000",
            _ => user(actor),
        };
        Uri::at(user, address)
    }

    /// Address-of-record of an actor.
    pub(super) const fn account(&self, actor: Actor) -> Uri {
        match actor {
            Actor::Account if self.tenant_of_contact => {
                self.in_to(self.contact(Actor::Victim, 0, true))
            }
            Actor::Account if self.tenant => Uri::named("1000", "other.example"),
            Actor::Outsider | Actor::Local => Uri::named(user(actor), "elsewhere.example"),
            _ => Uri::named(user(actor), DOMAIN),
        }
    }

    /// Whether an address is an actor's own: it sends from it, or listens at it.
    pub(super) fn owns(&self, actor: Actor, address: &Endpoint) -> bool {
        match actor {
            Actor::Victim => address.addr == NAT_5060.addr && is_mapping(address.port),
            Actor::Public => {
                address.addr == at(PUBLIC, 0).addr || *address == self.contact(actor, 0, true).place
            }
            _ => *address == self.source(actor, 0),
        }
    }

    /// Returns the actor that takes a packet sent to an address, if there is one. `changes` are the victim's mappings.
    pub(super) fn listener(
        &self,
        address: &Endpoint,
        is_response: bool,
        changes: u16,
    ) -> Option<Actor> {
        const ALL: [Actor; Actor::COUNT] = [
            Actor::Victim,
            Actor::Public,
            Actor::Trunk,
            Actor::Registrar,
            Actor::Outsider,
            Actor::Account,
            Actor::Friend,
            Actor::Neighbour,
            Actor::Local,
        ];
        ALL.into_iter().find(|actor| match actor {
            Actor::Public if is_response => *address == self.sent_by(*actor, 0),
            Actor::Public => *address == self.contact(*actor, 0, true).place,
            _ => *address == self.source(*actor, changes),
        })
    }
}

const fn is_mapping(port: u32) -> bool {
    port >= FIRST_MAPPING as u32 && port < FIRST_MAPPING as u32 + 1000
}

/// Domain of the PBX.
pub(super) const DOMAIN: &str = "pbx.example";

/// User of the address-of-record that rings all accounts.
pub(super) const GROUP: &str = "5000";

/// User of an actor's address-of-record.
const fn user(actor: Actor) -> &'static str {
    match actor {
        Actor::Victim => "1000",
        Actor::Public => "2000",
        Actor::Trunk => "+49301234",
        Actor::Registrar => "registrar",
        Actor::Outsider => "eve",
        Actor::Account => "6666",
        Actor::Friend => "8888",
        Actor::Neighbour => "7777",
        Actor::Local => "nobody",
    }
}
