//! One phone: its socket, its call, its Contact, and the responses that it repeats.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, UdpSocket},
};

use nat_test_support::{PBX, sip::Message};

use crate::{network::private, shared::number};

/// Responses kept for requests that come again.
const REMEMBERED: usize = 16;

pub(super) struct Phone {
    pub(super) index: usize,
    pub(super) wan: Ipv4Addr,
    pub(super) socket: UdpSocket,
    /// CSeq of its registration.
    pub(super) cseq: u32,
    /// It sends credentials only once it has been asked for them, and has not been yet.
    pub(super) unchallenged: bool,
    pub(super) call: Option<Call>,
    /// A call that it lets ring.
    pub(super) ringing: Option<Message>,
    /// Since its mapping changed, the PBX has not accepted a REGISTER yet.
    pub(super) unregistered: bool,
    /// Since its mapping changed, the PBX has not accepted a request within its call yet.
    pub(super) unconfirmed: bool,
    /// How many changes it has noticed.
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
    /// What it, or the ALG of its router, says that its address is: one's own, or the router's without port.
    pub(super) fn advertised(&self) -> String {
        match self.index % 4 {
            0 => private(self.index).to_string(),
            3 => private(0).to_string(),
            _ => self.wan.to_string(),
        }
    }

    /// Every second phone has a user part that it shares: with its site, or with every site.
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
        // A router that begins anew may say "unreachable"; the timers decide.
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
