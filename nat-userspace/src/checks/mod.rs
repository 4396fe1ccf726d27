//! Conditions that keep sipnat from working on this host. `run` refuses to start, `status` warns.

pub mod doctor;
mod firewall;
pub mod full_tables;
pub(crate) mod interfaces;
pub mod loops;
pub mod media_warnings;
pub mod preflight;
pub mod register_warnings;
pub(crate) mod restore_warnings;
pub mod stun_warnings;
pub mod warnings;
