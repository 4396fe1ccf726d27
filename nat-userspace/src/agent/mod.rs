//! The agent: the process that loads the kernel programs, and follows this host while they work.

mod addresses;
mod apply;
mod claim;
mod keepalives;
mod links;
mod logs;
mod notify;
mod privileges;
mod wildcards;

pub mod detach;
pub(crate) mod kinds;
pub mod metrics;
pub mod outcome;
pub mod record;
pub mod reload;
pub mod run;
pub mod session;
pub(crate) mod signals;
pub(crate) mod streams;
