//! The lab: phones, routers, an ISP and a PBX in network namespaces, with the faults of real ones.
//!
//! - [`lab`] builds the network, from [`netns`] (namespaces), [`alg`] (the router's SIP ALG) and [`xdp`].
//! - [`process`] runs real programs in it: [`sipnat`], [`sipp`], [`baresip`], [`twinkle`], [`linphone`],
//!   [`pjsua2`], [`kamailio`], [`asterisk`].
//! - [`pbx`] is a PBX that follows RFC 3261 strictly. [`ua`] and [`call`] are user agents in the hands of a test; [`handset`] has
//!   a password, of which [`digest`] proves the knowledge.
//! - [`scene`] plays a scenario in a lab, with sipnat and without.
//! - [`forge`] sends datagrams that no socket sends.
//! - [`footprint`] lists what sipnat has in the kernel.
//! - [`capture`] records packets on every interface, and [`ladder`] draws them.
//! - [`audio`] is an end of an audio stream: it sends a tone, and knows that of the other end.
//! - [`http`] asks servers in the network, and [`tmux`] is a terminal in it.
//! - [`sip`], [`stun`] and [`unique`] build and read messages. [`loops`] knows kernel versions.

pub mod alg;
pub mod asterisk;
pub mod audio;
pub mod baresip;
pub mod bpf;
pub mod call;
pub mod capture;
pub mod digest;
pub mod footprint;
pub mod forge;
pub mod handset;
pub mod http;
pub mod kamailio;
pub mod lab;
pub mod ladder;
pub mod linphone;
pub mod loops;
pub mod netns;
pub mod pbx;
pub mod pjsua2;
pub mod process;
pub mod scene;
pub mod sip;
pub mod sipnat;
pub mod sipp;
mod sound_card;
pub mod stun;
pub mod tmux;
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
