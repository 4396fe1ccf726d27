//! Tests of sipnat with real programs in a network of namespaces.
//!
//! Nearly every scenario is played twice: with sipnat it must succeed, and without it must fail in the way
//! that is its point. What fails differently is not what sipnat is for.

mod agent;
mod baresip;
mod change;
mod identity;
mod incoming;
mod kamailio;
mod kernel_alg;
mod nats;
mod next_hop;
mod registration;
mod scene;
mod slide;
mod trust;
mod unaffected;
mod via;
