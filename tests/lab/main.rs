//! Tests of sipnat with real programs in a network of namespaces.
//!
//! Nearly every scenario is played twice. With sipnat it must succeed. Without sipnat it must fail in the way that is
//! the point of the test; any other failure fails the test.

mod agent;
mod another_host;
mod attacks;
mod baresip;
mod change;
mod contact_forms;
mod edge;
mod faults;
mod forgotten_port;
mod gateway;
mod history;
mod identity;
mod incoming;
mod kamailio;
mod keepalives;
mod kernel_alg;
mod media;
mod methods;
mod nats;
mod next_hop;
mod operator;
mod packets;
mod placement;
mod policy;
mod reach;
mod refusals;
mod registration;
mod replay;
mod resets;
mod restart;
mod scene;
mod slide;
mod stun;
mod stun_operator;
mod top;
mod trunks;
mod trust;
mod two_ports;
mod unaffected;
mod upgrade;
mod via;
mod watch;
