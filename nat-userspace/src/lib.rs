//! User space of sipnat: loads and attaches the kernel programs, and reads and writes their maps.
//!
//! The modules are floors, the top one first. A file uses only its own folder and the floors below it.

pub mod cli;

pub mod commands;

pub mod replay;

pub mod agent;

pub mod checks;

pub mod view;

pub mod kernel;

pub mod host;

pub mod settings;

pub mod config;

pub mod nearest;
