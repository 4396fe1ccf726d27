//! The contents of the maps, as people read them.

pub mod keepalive;
pub mod listing;
pub mod output;
