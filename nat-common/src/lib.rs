//! Code that the kernel programs and user space of sipnat share: codecs, map types, table algorithms, and the decisions
//! themselves. It runs in the kernel and on the host alike.
//!
//! ```
//! use nat_common::{engine::verdict::Decision, sip};
//!
//! let text = b"BYE sip:1000@192.168.1.10 SIP/2.0\r\nVia: SIP/2.0/UDP pbx;branch=z9hG4bK7\r\nFrom: <sip:a@pbx>;tag=1\r\n\
//!     To: <sip:1000@pbx>;tag=2\r\nCall-ID: 7@phone\r\nCSeq: 1 BYE\r\n\r\n";
//! let message = sip::read(text).expect("a message");
//! assert!(message.has(sip::Field::ToTag), "an in-dialog request: the engine looks up its dialog end");
//! assert_eq!(Decision::RedirectedDialog.counter().name(), "out_redirected_dialog");
//! ```
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod bpf;
pub mod bytes;
pub mod datagram;
pub mod endpoint;
pub mod engine;
pub mod media;
pub mod sdp;
pub mod sip;
pub mod stun;
pub mod tables;
