//! One phone: its socket, its call, its Contact, and the responses that it repeats.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, UdpSocket},
};

use nat_test_support::{PBX, sip::Message};

use crate::{network::private, shared::number};

/// Number of responses that are kept for retransmissions.
const REMEMBERED: usize = 16;

pub(super) struct Phone {
    pub(super) index: usize,
    pub(super) wan: Ipv4Addr,
    pub(super) socket: UdpSocket,
    /// CSeq of its registration.
    pub(super) cseq: u32,
    /// Whether the phone waits for a challenge before it sends credentials, and has got none yet.
    pub(super) unchallenged: bool,
    pub(super) call: Option<Call>,
    /// Call that the phone lets ring.
    pub(super) ringing: Option<Message>,
    /// Whether the PBX has not accepted a REGISTER yet since the mapping changed.
    pub(super) unregistered: bool,
    /// Whether the PBX has not accepted a request within the call yet since the mapping changed.
    pub(super) unconfirmed: bool,
    /// Number of changes that the phone has noticed.
    pub(super) changes: u32,
    pub(super) said: VecDeque<(String, String)>,
}

pub(super) struct Call {
    pub(super) id: String,
    pub(super) local: String,
    /// To of the phone's requests; without tag while it dials.
    pub(super) remote: String,
    pub(super) cseq: u32,
    pub(super) dialling: bool,
}

impl Phone {
    /// Returns the advertised address, as the phone or the ALG of its router writes it: the private one, or the
    /// router's without port.
    pub(super) fn advertised(&self) -> String {
        match self.index % 4 {
            0 => private(self.index).to_string(),
            3 => private(0).to_string(),
            _ => self.wan.to_string(),
        }
    }

    /// Returns the Contact. Every second phone shares its user part with its site or with all sites.
    pub(super) fn contact(&self, phone: usize) -> String {
        let user = match self.index % 4 {
            0 | 1 => number(phone).to_string(),
            _ => "phone".into(),
        };
        format!("<sip:{user}@{}>", self.advertised())
    }

    pub(super) fn in_call(&self, call_id: &str) -> bool {
        self.call.as_ref().is_some_and(|call| call.id == call_id)
    }

    pub(super) fn send(&self, text: &[u8]) {
        // A router that restarts may answer "unreachable"; the timers decide.
        let _ = self.socket.send_to(text, PBX);
    }

    pub(super) fn say(&mut self, key: &str, response: &Message) {
        self.remember(key, response);
        self.send(response.to_string().as_bytes());
    }

    pub(super) fn remember(&mut self, key: &str, response: &Message) {
        self.said.retain(|(of, _)| of != key);
        self.said.push_back((key.to_owned(), response.to_string()));
        if self.said.len() > REMEMBERED {
            self.said.pop_front();
        }
    }
}
