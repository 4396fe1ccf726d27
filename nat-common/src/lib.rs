//! What the kernel programs and user space of sipnat share: the SIP scanner, keys and map types,
//! and the decisions themselves, as functions that run in the kernel and on the host alike.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod bpf;
pub mod bytes;
pub mod datagram;
pub mod endpoint;
pub mod engine;
pub mod sip;
pub mod stun;
pub mod tables;
