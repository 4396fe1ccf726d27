//! What the kernel programs and user space of sipnat share: the SIP scanner, keys and map types,
//! and the decisions themselves, as functions that run in the kernel and on the host alike.
#![no_std]

pub mod abi;
pub mod counter;
pub mod demux;
pub mod hash;
pub mod message;
pub mod scan;
pub mod source;
pub mod swar;
