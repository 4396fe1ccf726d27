//! The commands of `sipnat`, one file each.

pub mod bindings;
pub mod explain;
pub mod policy;
pub mod stats;
pub mod status;
pub mod stun_query;
