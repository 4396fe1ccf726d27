//! Counters: one for every verdict on a packet, and one for every event beside it.
//!
//! A packet ends in exactly one verdict; see [`verdict`](crate::engine::verdict). Events happen beside it. A new counter
//! is a line at the end of the list: `cargo xtask check abi` holds the order, since an index keeps its meaning.
//!
//! ```
//! use nat_common::abi::{Counter, CounterKind};
//!
//! assert_eq!(Counter::ALL[Counter::InRequest as usize].name(), "in_request");
//! assert_eq!(Counter::InRequest.kind(), CounterKind::Ingress);
//! assert_eq!(Counter::InRequest.event_bit(), 0);
//! assert_eq!(Counter::DialogMoved.event_bit().count_ones(), 1);
//! ```

macro_rules! counters {
    ($($(#[$group:meta])* $variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// Verdict or event. The discriminant is the index in the `COUNTERS` map.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// All of them, in the order of the map.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Number of counters.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Name in `sipnat stats` and its JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Explanation in one line.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// Kind of the counter.
            #[must_use]
            pub const fn kind(self) -> CounterKind {
                match self { $(Self::$variant => CounterKind::$kind,)* }
            }
        }
    };
}

/// Kind of a [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterKind {
    /// Verdict on a packet at ingress: each packet is counted by exactly one.
    Ingress,
    /// Verdict on a packet at egress: each packet is counted by exactly one.
    Egress,
    /// Event: a change of a binding or a table.
    Event,
}

/// Entry of [`EVENT_BITS`] for a counter that is no event.
const NO_EVENT: u32 = 0;

/// Bit of each event, by the index of its counter. Events have bits in the order of the list.
const EVENT_BITS: [u32; Counter::COUNT as usize] = {
    let mut bits = [NO_EVENT; Counter::COUNT as usize];
    let mut next = 0;
    let mut index = 0;
    while index < bits.len() {
        if matches!(Counter::ALL[index].kind(), CounterKind::Event) {
            assert!(next < u32::BITS, "a record has 32 bits for events");
            bits[index] = 1 << next;
            next += 1;
        }
        index += 1;
    }
    bits
};

// A record keeps the verdict in a byte.
const _: () = assert!(Counter::COUNT <= 256);

impl Counter {
    /// Bit of an event in [`Record::events`](crate::abi::Record::events); 0 for a verdict.
    #[inline(always)]
    #[must_use]
    pub const fn event_bit(self) -> u32 {
        EVENT_BITS[self as usize]
    }
}

counters! {
    // Packets that are not SIP for the PBX.
    InNotIp = "in_not_ip", Ingress, "neither IPv4 nor IPv6 (ARP, more than two VLAN tags)";
    InNotUdp = "in_not_udp", Ingress, "IP, but not UDP";
    InOtherPort = "in_other_port", Ingress, "UDP to a port that is not SIP";
    InFragment = "in_fragment", Ingress, "an IP fragment after the first: nothing to learn from";
    InMalformed = "in_malformed", Ingress, "may be for a SIP port, and lengths in its headers contradict the packet";
    InBadSource = "in_bad_source", Ingress, "source is zero, loopback, multicast or port 0";
    InKeepalive = "in_keepalive", Ingress, "keepalive (CRLF, zero bytes, empty)";
    InStun = "in_stun", Ingress, "STUN, and sipnat does not answer it: passed to the PBX";
    InNotSip = "in_not_sip", Ingress, "on a SIP port, but not SIP";
    // Messages that the scanner refuses to read.
    InDoubtTruncated = "in_doubt_truncated", Ingress, "SIP: headers end with the packet, or are too long to follow";
    InDoubtSyntax = "in_doubt_syntax", Ingress, "SIP: a header that matters breaks the grammar";
    InDoubtMissing = "in_doubt_missing", Ingress, "SIP: Call-ID, From, To, CSeq or Via is missing";
    InDoubtDuplicate = "in_doubt_duplicate", Ingress, "SIP: a header or tag that must be unique is there twice";
    InNoTables = "in_no_tables", Ingress, "a map entry of sipnat's own could not be had";
    // Requests in.
    InRequest = "in_request", Ingress, "request: its source is noted with its transaction";
    InRepeat = "in_repeat", Ingress, "request again: the first source of the transaction stays";
    InOtherSource = "in_other_source", Ingress, "request again, from another source: not believed";
    InAck = "in_ack", Ingress, "ACK: opens no transaction";
    InBusy = "in_busy", Ingress, "another CPU was writing to the same slot: not noted";
    // Responses in.
    InResponse = "in_response", Ingress, "response to a request of the PBX";
    InResponseUnasked = "in_response_unasked", Ingress, "response to nothing that the PBX sent: nothing learned";

    // STUN, where sipnat answers it. What is neither answered nor dropped is passed to the PBX.
    StunAnswered = "stun_answered", Ingress, "Binding request: answered with its source";
    StunRefused = "stun_refused", Ingress, "Binding request with an attribute that is unknown and matters: answered with 420";
    StunLimited = "stun_limited", Ingress, "Binding request, more than its address may send: dropped";
    StunNotRequest = "stun_not_request", Ingress, "STUN, but not a Binding request";
    StunCredentials = "stun_credentials", Ingress, "Binding request with credentials: for the PBX to judge";
    StunMalformed = "stun_malformed", Ingress, "STUN attributes contradict the message, or are more than are looked at";
    StunBadFingerprint = "stun_bad_fingerprint", Ingress, "FINGERPRINT does not match the message";
    StunBadSource = "stun_bad_source", Ingress, "Binding request from an address that must not be answered: private and not on this link, broadcast, this host's own";
    StunNotHere = "stun_not_here", Ingress, "STUN on its way through this host, or to all of a subnet";
    StunUnusual = "stun_unusual", Ingress, "STUN that is long, or with IP options or a damaged IP header, in fragments, in a frame of several pieces, or in one from or for a group of stations";
    StunNotWritten = "stun_not_written", Ingress, "Binding request, but its packet cannot take the answer";
    StunFailed = "stun_failed", Ingress, "Binding request, half overwritten by its answer when the kernel refused more: dropped";

    OutNotIp = "out_not_ip", Egress, "neither IPv4 nor IPv6 (ARP, more than two VLAN tags)";
    OutNotUdp = "out_not_udp", Egress, "IP, but not UDP";
    OutOtherPort = "out_other_port", Egress, "UDP from a port that is not SIP";
    OutFragment = "out_fragment", Egress, "an IP fragment after the first: left alone, as the first was";
    OutFragmentRedirected = "out_fragment_redirected", Egress, "an IP fragment, sent after its redirected first";
    OutFragmentRefused = "out_fragment_refused", Egress, "first fragment, to be redirected, but a later one was seen before it: left alone";
    OutSegmented = "out_segmented", Egress, "a GSO super-packet that may be of a SIP port: left alone";
    OutMalformed = "out_malformed", Egress, "may be from a SIP port, and lengths in its headers contradict the packet";
    OutKeepalive = "out_keepalive", Egress, "keepalive or STUN of the PBX";
    OutNotSip = "out_not_sip", Egress, "from a SIP port, but not SIP";
    OutDoubtTruncated = "out_doubt_truncated", Egress, "SIP: headers end with the packet, or are too long to follow";
    OutDoubtSyntax = "out_doubt_syntax", Egress, "SIP: a header that matters breaks the grammar";
    OutDoubtMissing = "out_doubt_missing", Egress, "SIP: Call-ID, From, To, CSeq or Via is missing";
    OutDoubtDuplicate = "out_doubt_duplicate", Egress, "SIP: a header or tag that must be unique is there twice";
    OutNoTables = "out_no_tables", Egress, "a map entry of sipnat's own could not be had";
    OutUnknownRequest = "out_unknown_request", Egress, "request to whom nothing was learned of";
    OutUnknownResponse = "out_unknown_response", Egress, "response to a request that was not seen, or too long ago";
    OutRoute = "out_route", Egress, "request with a Route: aimed at another hop";
    OutAmbiguous = "out_ambiguous", Egress, "two live terminals claim that contact: left alone";
    OutForeignContact = "out_foreign_contact", Egress, "found by Request-URI alone, and not what NAT does to an address: left alone";
    OutOtherFamily = "out_other_family", Egress, "meant for IPv4 and learned by IPv6, or the reverse: left alone";
    OutLeftAlone = "out_left_alone", Egress, "the terminal has answered where the PBX means, and not where it was learned";
    OutUnanswered = "out_unanswered", Egress, "redirects of this message drew no answer: this one goes where the PBX means";
    OutPolicyOff = "out_policy_off", Egress, "policy for the learned address is off";
    OutNotDirect = "out_not_direct", Egress, "policy is auto, and the terminal came through another proxy";
    OutAlreadyThere = "out_already_there", Egress, "goes to the learned address by itself";
    OutRedirectedResponse = "out_redirected_response", Egress, "response, redirected to the source of its request";
    OutRedirectedDialog = "out_redirected_dialog", Egress, "in-dialog request, redirected by dialog end";
    OutRedirectedContact = "out_redirected_contact", Egress, "request, redirected by contact";
    OutRedirectedInvite = "out_redirected_invite", Egress, "CANCEL or ACK, redirected to where its INVITE went";
    OutRewriteRefused = "out_rewrite_refused", Egress, "to be redirected, but the packet cannot be written to: left alone";
    OutRewriteFailed = "out_rewrite_failed", Egress, "to be redirected, but the kernel refused the change: dropped, since half changed";

    DialogActivated = "dialog_activated", Event, "dialog end: became active";
    DialogMoved = "dialog_moved", Event, "dialog end: moved to another address by an accepted message";
    DialogRefreshed = "dialog_refreshed", Event, "dialog end: confirmed";
    DialogStale = "dialog_stale", Event, "dialog end: a message older than what is known; not moved";
    DialogGuarded = "dialog_guarded", Event, "dialog end: a new dialog's request tried to take a live one over; not moved";
    DialogEnded = "dialog_ended", Event, "dialog end: ended by BYE";
    DialogFromPending = "dialog_from_pending", Event, "dialog end: the PBX sent to it before its own 2xx, and one source was pending";
    ContactActivated = "contact_activated", Event, "contact: became active";
    ContactMoved = "contact_moved", Event, "contact: moved to another address by an accepted REGISTER";
    ContactRefreshed = "contact_refreshed", Event, "contact: confirmed";
    ContactRemoved = "contact_removed", Event, "contact: removed by an accepted REGISTER";
    ContactAmbiguous = "contact_ambiguous", Event, "contact: claimed by two live terminals";
    PendingNoted = "pending_noted", Event, "dialog end: noted as pending";
    PendingAmbiguous = "pending_ambiguous", Event, "dialog end: pending from two sources";
    PendingDropped = "pending_dropped", Event, "dialog end: dropped while pending, since the PBX refused the request";
    TableFull = "table_full", Event, "binding not stored: its table is full, or for a moment locked";
    SlotBusy = "slot_busy", Event, "a slot was being written by another CPU: skipped";
    PeerProven = "peer_proven", Event, "learned address: answered a redirected request";
    PeerLeftAlone = "peer_left_alone", Event, "learned address: does not answer, the one that the PBX means does; now left alone";
    NextHopKept = "next_hop_kept", Event, "a redirected packet with a VLAN tag got another address, and the next hop that it had";
    NextHopChanged = "next_hop_changed", Event, "a redirected packet got another address, so the kernel routed it again";
}
