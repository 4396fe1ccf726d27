//! What the kernel programs and user space of sipnat share: the SIP scanner, keys and map types,
//! and the decisions themselves, as functions that run in the kernel and on the host alike.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod atomic;
pub mod bucket;
pub mod counter;
pub mod demux;
pub mod engine;
pub mod fragment;
pub mod hash;
pub mod key;
pub mod message;
pub mod scan;
pub mod slots;
pub mod source;
pub mod stun;
pub mod swar;
pub mod words;
