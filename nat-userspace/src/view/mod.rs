//! The contents of the maps, as people read them.

mod keepalive;
mod pending;
pub(crate) mod proof;

pub mod fill;
pub mod listing;
pub mod output;
pub mod rows;
pub mod story;
