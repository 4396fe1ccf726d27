//! The kernel programs and their maps: loading, attaching, pinning, reading.

pub mod attach;
pub mod carry;
pub mod config;
mod description;
pub mod earlier;
pub mod history;
pub mod hooks;
pub mod keepalives;
pub(crate) mod kinds;
pub mod layout;
pub mod load;
pub mod loops;
pub mod mapped;
pub mod media;
pub mod object;
mod other_bindings;
pub mod pins;
pub mod policy;
mod programs;
mod raw;
pub mod refusal;
pub mod rules;
pub mod run_time;
pub mod streams;
pub mod tables;
pub mod test_run;
