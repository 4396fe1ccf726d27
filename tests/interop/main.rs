//! Tests with real PBXs: Asterisk 22 with `chan_pjsip`, Asterisk 16 with `chan_pjsip` and with `chan_sip`.
//!
//! Every scenario is played at each of them, with sipnat and without. Without, the message that is the point of the test
//! must not arrive.

mod calls;
mod changes;
mod contact_forms;
mod events;
mod frame;
mod kamailio;
mod media;
mod programs;
mod prometheus;
mod sessions;
mod settings;
mod trunks;
