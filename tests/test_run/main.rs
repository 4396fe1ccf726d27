//! Tests of both kernel programs on crafted frames, by `BPF_PROG_TEST_RUN`: verdict, bytes, checksums, maps and
//! counters. No program is attached; loading them needs root.
//!
//! A new case of a packet in and a packet out is one row of the table in `cases.rs`.

mod cases;
mod complete;
mod flood;
mod frames;
mod history;
mod keepalives;
mod late;
mod learning;
mod limits;
mod packets;
mod redirecting;
mod replay;
mod run;
mod stations;
mod stun;
mod stun_fuzz;
mod tables;
mod untouched;
