//! The commands of `sipnat`: a file each, with the arguments.

mod ports;
mod watch;

pub mod options;

pub mod bindings;
pub mod detach;
pub mod doctor;
pub mod explain;
pub mod guard;
pub mod media;
pub mod policy;
pub mod reload;
pub mod replay;
pub mod run;
pub mod stats;
pub mod status;
pub mod stun_query;
pub mod top;
