//! Tests of sipnat with real programs in a network of namespaces.
//!
//! Nearly every scenario is played twice: with sipnat it must succeed, and without it must fail in the way
//! that is its point. What fails differently is not what sipnat is for.

mod agent;
mod baresip;
mod change;
mod contact_forms;
mod identity;
mod incoming;
mod kamailio;
mod kernel_alg;
mod methods;
mod nats;
mod next_hop;
mod operator;
mod packets;
mod policy;
mod registration;
mod scene;
mod slide;
mod stun;
mod stun_operator;
mod trust;
mod two_ports;
mod unaffected;
mod via;
