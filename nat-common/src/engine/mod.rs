//! The decisions: what is learned from a message, when it counts, and where a packet of the PBX goes.
//!
//! Pure but for [`Env`]: the kernel programs give it their maps, tests give it tables of their own.

mod contacts;
mod dialogs;
mod draft;
mod env;
pub mod fragments;
mod identity;
mod inbound;
mod lifetimes;
mod outbound;
mod reach;
mod record;

pub use contacts::place_contact;
pub use dialogs::place_dialog;
pub use env::{Env, TABLES, Table, Text};
pub use lifetimes::*;

use crate::abi::Counter;
use crate::endpoint::Endpoint;
use crate::engine::identity::identify;
use crate::engine::inbound::{request_in, response_in};
use crate::engine::outbound::{request_out, response_out};
use crate::engine::record::{begin_record, end_record};
use crate::sip::{Direction, Message};

/// A message arrived from `peer`. The packet goes to the PBX in any case; the counter says what was
/// made of it.
#[inline(always)]
pub fn ingress<E: Text>(env: &E, m: &Message, peer: &Endpoint) -> Counter {
    let call = identify(env, m, Direction::In);
    if m.status == 0 {
        return request_in(env, m, call, peer);
    }
    begin_record(env, m, call);
    let counter = response_in(env, m, call, peer);
    if counter == Counter::InResponse {
        end_record(env, counter);
    }
    counter
}

/// The PBX sends a message. `to` is where the packet is going, and changed if it is to go elsewhere; the
/// counter says why.
#[inline(always)]
pub fn egress<E: Text>(env: &E, m: &Message, to: &mut Endpoint) -> Counter {
    let call = identify(env, m, Direction::Out);
    begin_record(env, m, call);
    env.record().set_meant(to);
    let counter = if m.status == 0 {
        request_out(env, m, call, to)
    } else {
        response_out(env, m, call, to)
    };
    if env.shadow() {
        env.record().copy_meant(to);
    }
    end_record(env, counter);
    counter
}
