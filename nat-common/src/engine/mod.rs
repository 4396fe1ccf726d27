//! The decisions: what is learned from a message, when it counts, and where a packet of the PBX goes.
//!
//! Pure but for their environment ([`mod@env`]): the kernel programs give it their maps, tests give it memory. A decision is
//! a [`verdict`]; counters follow from it. `nat-common/tests/decisions/` plays them row by row, on memory.
//!
//! ```
//! use nat_common::engine::verdict::{Decision, Sent};
//!
//! let decision = Decision::RedirectedDialog;
//! assert!(decision.is_choice());
//! assert_eq!(Sent::Decided(decision).counter().name(), "out_redirected_dialog");
//! ```

mod contacts;
mod dialogs;
mod draft;
pub mod env;
mod evidence;
mod follow;
pub mod fragments;
mod history;
mod identity;
mod inbound;
pub mod keepalive;
pub mod lifetimes;
pub mod media;
mod outbound;
mod proof;
mod reach;
mod route;
pub mod stun;
pub mod verdict;

pub use contacts::{
    draft_further_contact, note_challenge, place_contact, place_registration, prove_challenge,
};
pub use dialogs::place_dialog;
pub use evidence::Evidence;
pub use follow::has_left;
pub use history::{REQUEST_URI, remember_request_uri};
pub use identity::{leads_to_target, names_domain, uri_of};
pub use inbound::note_further_contact;
pub use outbound::{choose_host, note_route, route_of_invite, went_elsewhere};
pub use proof::{
    is_for_another_host, note_deaf, note_ping, note_proxy, note_resident, note_return,
    note_transmission, prove_pair,
};
pub use reach::{choose, choose_by_uri, may_follow_uri};
pub use route::Route;
pub use verdict::{Choice, Placed};

use crate::datagram::{Datagram, Part};
use crate::endpoint::Endpoint;
use crate::engine::env::Text;
use crate::engine::identity::identify;
use crate::engine::inbound::{request_in, response_in};
use crate::engine::outbound::{request_out, response_out};
use crate::engine::verdict::{Decision, Heard};
use crate::sip::{Direction, Message};

/// Learns from a message that arrived from `source`. The packet goes to the PBX in any case.
#[inline(always)]
pub fn ingress<E: Text>(env: &E, m: &Message, source: &Endpoint) -> Heard {
    let call = identify(env, m, Direction::In);
    if m.status == 0 {
        return request_in(env, m, call, source);
    }
    history::begin(env, m);
    env.record().set_learned(source);
    let heard = response_in(env, m, call);
    if heard != Heard::Unasked {
        history::end(env, heard.counter());
    }
    heard
}

/// Learns from a message that the PBX sends, and decides where its datagram goes. `to` is the datagram's destination, and
/// changed if it is to go elsewhere.
#[inline(always)]
pub fn egress<E: Text>(env: &E, m: &Message, datagram: &Datagram, to: &mut Endpoint) -> Decision {
    let call = identify(env, m, Direction::Out);
    history::begin(env, m);
    env.record().set_original(to);
    let decision = if m.status == 0 {
        request_out(env, m, call, to)
    } else {
        response_out(env, m, call, to)
    };
    if env.shadow() {
        env.record().copy_original(to);
    }
    let decision = history::decided(env, decision);
    history::end(env, decision.counter());
    // The message is not kept for this: the stack has no space (6.1).
    if env.record().status == 0 && decision.lacks_terminal() {
        env.remember_request_uri(m);
    }
    if datagram.part == Part::First && !fragments::first(env, datagram, to) {
        return Decision::FragmentRefused;
    }
    decision
}
