//! Both kernel programs on crafted frames, by `BPF_PROG_TEST_RUN`: verdict, bytes, checksums, maps and
//! counters. Nothing is attached; it takes root to load a program.

mod batches;
mod cases;
mod flood;
mod frames;
mod late;
mod learning;
mod limits;
mod packets;
mod redirecting;
mod run;
mod stations;
mod stun;
mod stun_fuzz;
mod untouched;
