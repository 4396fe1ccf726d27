//! The contents of the maps, as people read them.

pub(crate) mod changes;
pub(crate) mod contacts;
pub(crate) mod counts;
pub(crate) mod keepalive;
mod nearest_contact;
pub(crate) mod page;
mod pending;
pub(crate) mod pings;
pub(crate) mod proof;
mod row_json;
pub(crate) mod rules;
pub(crate) mod streams;
pub(crate) mod traffic;

pub mod fill;
pub mod listing;
pub mod output;
pub mod rows;
pub mod story;
