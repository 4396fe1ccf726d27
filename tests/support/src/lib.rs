//! The lab: phones, routers, an ISP and a PBX in network namespaces, with the faults of the real ones.
//!
//! [`Lab`] builds the network. Into it go real programs ([`sipp`], [`baresip`], [`twinkle`], [`kamailio`], [`sipnat`])
//! a PBX that takes RFC 3261 at its word ([`pbx`]), and user
//! agents that a test plays itself ([`ua`], [`call`]). [`capture`] sees what happens on the wires, and
//! [`ladder`] draws it.

pub mod alg;
pub mod baresip;
pub mod call;
pub mod capture;
pub mod kamailio;
pub mod lab;
pub mod ladder;
pub mod loops;
pub mod netns;
pub mod pbx;
pub mod process;
pub mod sip;
pub mod sipnat;
pub mod sipp;
pub mod stun;
pub mod twinkle;
pub mod ua;
pub mod unique;
pub mod xdp;

pub use alg::Alg;
pub use call::Call;
pub use lab::{Lab, PBX, Plan};
pub use pbx::StrictPbx;
pub use sip::Answers;
pub use sipnat::Sipnat;
pub use ua::{ScriptedPbx, Terminal};
