//! A counter for every reason why a packet was passed, learned from, redirected or left alone.
//!
//! A packet ends in exactly one *verdict*. *Events* are what happened beside it.

macro_rules! counters {
    ($($(#[$group:meta])* $variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// Why, and what. The discriminant is the index in the `COUNTERS` map: a new one in between, or one
        /// less, is another [`ABI`](crate::abi::ABI).
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// All of them, in the order of the map.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Its name in `sipnat stats` and its JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// A line for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// Whether it is the end of a packet's way in, of its way out, or an event beside it.
            #[must_use]
            pub const fn kind(self) -> CounterKind {
                match self { $(Self::$variant => CounterKind::$kind,)* }
            }
        }
    };
}

/// The first of the events.
const FIRST_EVENT: u32 = Counter::DialogActivated as u32;

const _: () = assert!(Counter::COUNT - FIRST_EVENT <= u32::BITS && Counter::COUNT <= 256);

impl Counter {
    /// The bit of an event in [`Record::events`](crate::abi::Record::events); of any other counter 0.
    #[inline(always)]
    #[must_use]
    pub const fn event_bit(self) -> u32 {
        match (self as u32).checked_sub(FIRST_EVENT) {
            Some(event) => 1 << event,
            None => 0,
        }
    }
}

/// What a [`Counter`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterKind {
    /// Packets at ingress; each is counted by exactly one of this kind.
    Ingress,
    /// Packets at egress; each is counted by exactly one of this kind.
    Egress,
    /// Things that happened to bindings and tables.
    Event,
}

counters! {
    // Packets that are none of our business.
    InNotIp = "in_not_ip", Ingress, "neither IPv4 nor IPv6 (ARP, more than two VLAN tags)";
    InNotUdp = "in_not_udp", Ingress, "IP, but not UDP";
    InOtherPort = "in_other_port", Ingress, "UDP to a port that is not SIP";
    InFragment = "in_fragment", Ingress, "an IP fragment after the first: nothing to learn from";
    InMalformed = "in_malformed", Ingress, "may be for a SIP port, and lengths in its headers contradict the packet";
    InBadSource = "in_bad_source", Ingress, "source is zero, loopback, multicast or port 0";
    InKeepalive = "in_keepalive", Ingress, "keepalive (CRLF, zero bytes, empty)";
    InStun = "in_stun", Ingress, "STUN, and sipnat does not answer it: passed to the PBX";
    InNotSip = "in_not_sip", Ingress, "on a SIP port, but not SIP";
    // Messages that the scanner will not vouch for.
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
