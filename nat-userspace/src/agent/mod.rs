//! The agent: the process that keeps the kernel programs in place, and what it leaves for the command line.

pub mod addresses;
pub mod record;
pub mod run;
pub mod session;
pub mod sweep;
