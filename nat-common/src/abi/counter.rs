//! Counters: one for every verdict on a packet, and one for every event beside it.
//!
//! A packet ends in exactly one verdict; see [`verdict`](crate::engine::verdict). Events happen beside it. A new counter
//! is a line at the end of the list: `cargo xtask check abi` guards the order, because an index keeps its meaning.
//!
//! ```
//! use nat_common::abi::{Counter, CounterKind};
//!
//! assert_eq!(Counter::ALL[Counter::InRequest as usize].name(), "in_request");
//! assert_eq!(Counter::InRequest.kind(), CounterKind::Ingress);
//! assert_eq!(Counter::InRequest.event_bit(), 0);
//! assert_eq!(Counter::DialogMoved.event_bit().count_ones(), 1);
//! ```

/// Makes the type of a map's counters.
macro_rules! counter_type {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $name:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $(#[doc = $help] $variant,)*
        }

        impl $type {
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
        }
    };
}
pub(super) use counter_type;

macro_rules! counters {
    ($($(#[$group:meta])* $variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        counter_type! {
            /// Verdict or event. The discriminant is the index in the `COUNTERS` map.
            Counter { $($variant = $name, $help;)* }
        }

        impl Counter {
            /// Kind of the counter.
            #[must_use]
            pub const fn kind(self) -> CounterKind {
                match self { $(Self::$variant => CounterKind::$kind,)* }
            }
        }
    };
}

/// Kind of a [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    InOtherPort = "in_other_port", Ingress, "UDP to a port that is not a SIP port";
    InFragment = "in_fragment", Ingress, "IP fragment after the first: it has no SIP headers";
    InMalformed = "in_malformed", Ingress, "lengths in the headers contradict the packet; it may be for a SIP port";
    InBadSource = "in_bad_source", Ingress, "source is zero, loopback, multicast, IPv4-mapped or port 0";
    InKeepalive = "in_keepalive", Ingress, "keepalive (CRLF, zero bytes, empty)";
    InStun = "in_stun", Ingress, "STUN, passed to the PBX: sipnat runs without --stun";
    InNotSip = "in_not_sip", Ingress, "on a SIP port, but not SIP";
    // Messages that the scanner refuses to read.
    InDoubtTruncated = "in_doubt_truncated", Ingress, "SIP: the headers do not end in the packet, or are too long to read";
    InDoubtSyntax = "in_doubt_syntax", Ingress, "SIP: a header that matters breaks the grammar";
    InDoubtMissing = "in_doubt_missing", Ingress, "SIP: Call-ID, From, To, CSeq or Via is missing";
    InDoubtDuplicate = "in_doubt_duplicate", Ingress, "SIP: a header or tag that must be unique occurs twice";
    InNoTables = "in_no_tables", Ingress, "an entry of sipnat's own maps is missing";
    // Requests in.
    InRequest = "in_request", Ingress, "request: its source is stored with its transaction";
    InRepeat = "in_repeat", Ingress, "request repeated by the same source";
    InOtherSource = "in_other_source", Ingress, "request repeated by another source: neither is believed";
    InAck = "in_ack", Ingress, "ACK: opens no transaction";
    InBusy = "in_busy", Ingress, "message not stored: another CPU was writing to the slot";
    // Responses in.
    InResponse = "in_response", Ingress, "response to a request of the PBX";
    InResponseUnasked = "in_response_unasked", Ingress, "response without a request of the PBX: nothing is learned";

    // STUN with `--stun`. A packet that is neither answered nor dropped is passed to the PBX.
    StunAnswered = "stun_answered", Ingress, "Binding request: answered with its source";
    StunRefused = "stun_refused", Ingress, "Binding request with an unknown comprehension-required attribute: answered with 420";
    StunLimited = "stun_limited", Ingress, "Binding request above the rate limit of its address: dropped";
    StunNotRequest = "stun_not_request", Ingress, "STUN, but not a Binding request";
    StunCredentials = "stun_credentials", Ingress, "Binding request with credentials: passed to the PBX";
    StunMalformed = "stun_malformed", Ingress, "STUN attributes contradict the message, or are too many to read";
    StunBadFingerprint = "stun_bad_fingerprint", Ingress, "FINGERPRINT does not match the message";
    StunBadSource = "stun_bad_source", Ingress, "STUN from a source that gets no answer: broadcast or multicast, this host's own, or private and not on this link";
    StunNotHere = "stun_not_here", Ingress, "STUN to another host, or to a broadcast address";
    StunUnusual = "stun_unusual", Ingress, "STUN in an unusual packet: long, in fragments or pieces, with IP options, with a damaged IP header, or with a group MAC address";
    StunNotWritten = "stun_not_written", Ingress, "Binding request whose packet cannot take the answer: passed to the PBX";
    StunFailed = "stun_failed", Ingress, "Binding request whose answer the kernel refused to finish: dropped";

    OutNotIp = "out_not_ip", Egress, "neither IPv4 nor IPv6 (ARP, more than two VLAN tags)";
    OutNotUdp = "out_not_udp", Egress, "IP, but not UDP";
    OutOtherPort = "out_other_port", Egress, "UDP from a port that is not a SIP port";
    OutFragment = "out_fragment", Egress, "IP fragment after the first: left alone, like the first";
    OutFragmentRedirected = "out_fragment_redirected", Egress, "IP fragment after the first: redirected, like the first";
    OutFragmentRefused = "out_fragment_refused", Egress, "first fragment: left alone, because a later one was sent before it";
    OutSegmented = "out_segmented", Egress, "GSO super-packet, perhaps from a SIP port: left alone";
    OutMalformed = "out_malformed", Egress, "lengths in the headers contradict the packet; it may be from a SIP port";
    OutKeepalive = "out_keepalive", Egress, "keepalive or STUN of the PBX";
    OutNotSip = "out_not_sip", Egress, "from a SIP port, but not SIP";
    OutDoubtTruncated = "out_doubt_truncated", Egress, "SIP: the headers do not end in the packet, or are too long to read";
    OutDoubtSyntax = "out_doubt_syntax", Egress, "SIP: a header that matters breaks the grammar";
    OutDoubtMissing = "out_doubt_missing", Egress, "SIP: Call-ID, From, To, CSeq or Via is missing";
    OutDoubtDuplicate = "out_doubt_duplicate", Egress, "SIP: a header or tag that must be unique occurs twice";
    OutNoTables = "out_no_tables", Egress, "an entry of sipnat's own maps is missing";
    OutUnknownRequest = "out_unknown_request", Egress, "request whose terminal is unknown";
    OutUnknownResponse = "out_unknown_response", Egress, "response to a request that is unknown or too old";
    OutRoute = "out_route", Egress, "request with a Route: meant for another hop";
    OutAmbiguous = "out_ambiguous", Egress, "two live terminals claim the contact: left alone";
    OutForeignContact = "out_foreign_contact", Egress, "only the Contact URI names the terminal, and other evidence speaks against it: left alone";
    OutOtherFamily = "out_other_family", Egress, "original destination and learned address differ in IP version: left alone";
    OutLeftAlone = "out_left_alone", Egress, "terminal answers at the original destination: left alone";
    OutUnanswered = "out_unanswered", Egress, "transmissions to the learned address drew no answer: sent to the original destination";
    OutPolicyOff = "out_policy_off", Egress, "policy for the learned address is off";
    OutNotDirect = "out_not_direct", Egress, "policy is auto, and the terminal came through another proxy";
    OutAlreadyThere = "out_already_there", Egress, "original destination is the learned address";
    OutRedirectedResponse = "out_redirected_response", Egress, "response, redirected to the source of its request";
    OutRedirectedDialog = "out_redirected_dialog", Egress, "in-dialog request, redirected by dialog end";
    OutRedirectedContact = "out_redirected_contact", Egress, "request, redirected by contact";
    OutRedirectedInvite = "out_redirected_invite", Egress, "CANCEL or ACK, redirected to where its INVITE went";
    OutRewriteRefused = "out_rewrite_refused", Egress, "redirect not possible, because the packet cannot be written: left alone";
    OutRewriteFailed = "out_rewrite_failed", Egress, "redirect half done, because the kernel refused to finish it: dropped";

    DialogActivated = "dialog_activated", Event, "dialog end: became active";
    DialogMoved = "dialog_moved", Event, "dialog end: moved to another address by an accepted message";
    DialogRefreshed = "dialog_refreshed", Event, "dialog end: confirmed";
    DialogStale = "dialog_stale", Event, "dialog end: not moved, because the message is older than the known state";
    DialogGuarded = "dialog_guarded", Event, "dialog end: not moved, because a new dialog must not take over a live one";
    DialogEnded = "dialog_ended", Event, "dialog end: ended by BYE";
    DialogFromPending = "dialog_from_pending", Event, "dialog end: activated by a request of the PBX that overtook its 2xx; one source was pending";
    ContactActivated = "contact_activated", Event, "contact: became active";
    ContactMoved = "contact_moved", Event, "contact: moved to another address by an accepted REGISTER";
    ContactRefreshed = "contact_refreshed", Event, "contact: confirmed";
    ContactRemoved = "contact_removed", Event, "contact: removed by an accepted REGISTER";
    ContactAmbiguous = "contact_ambiguous", Event, "contact: claimed by two live terminals";
    PendingNoted = "pending_noted", Event, "dialog end: stored as pending";
    PendingAmbiguous = "pending_ambiguous", Event, "dialog end: pending from two sources";
    PendingDropped = "pending_dropped", Event, "dialog end: no longer pending, because the PBX refused the request";
    TableFull = "table_full", Event, "binding not stored: both of its sets hold confirmed bindings only";
    SlotBusy = "slot_busy", Event, "slot skipped, or binding not stored: another CPU was writing to it";
    PeerProven = "peer_proven", Event, "learned address: proven, because it answered a redirected request";
    PeerLeftAlone = "peer_left_alone", Event, "original destination: proven, because it answered a request that nothing redirected";
    NextHopKept = "next_hop_kept", Event, "redirect to another address: a frame with a VLAN tag, or one that this host has not routed, keeps its next hop";
    NextHopChanged = "next_hop_changed", Event, "redirect to another address: the kernel routed the packet again";
    InResponseElsewhere = "in_response_elsewhere", Ingress, "response from another host than the request was sent to: nothing is learned";
    InChecksum = "in_checksum", Ingress, "response or REGISTER whose UDP checksum is wrong: nothing is learned";
    OutOriginalFirst = "out_original_first", Egress, "nothing is proven of the two addresses yet: the original destination comes first";
    OutDisputed = "out_disputed", Egress, "response to a request that several sources sent: left alone";
    RegisterSentOn = "register_sent_on", Event, "REGISTER sent on to a host that --registrar does not name: its 2xx moves no contact";
    RegisterNotOwn = "register_not_own", Event, "2xx to REGISTER: not the PBX's own, so it moves no contact";
    ContactOutranked = "contact_outranked", Event, "contact: its URI belongs to another owner, whose user it has";
    WeakProven = "weak_proven", Event, "contact: proven for requests that only its URI names";
    DialogProven = "dialog_proven", Event, "dialog end: proven, because the terminal got what was sent to its learned address";
    RegisterOtherDomain = "register_other_domain", Event, "2xx to REGISTER: the Request-URI names another domain than To, so a proxy may have relayed it; it moves no contact";
    PendingChecksum = "pending_checksum", Event, "dialog end: not stored as pending, because the UDP checksum is wrong";
    StunTotalLimited = "stun_total_limited", Ingress, "Binding request above the rate limit of all addresses together: dropped";
    DialogFollowed = "dialog_followed", Event, "packet for a terminal that has only registered again: goes to its new address";
    InOtherHost = "in_other_host", Ingress, "SIP to an address that --pbx does not name: nothing is learned";
    OutOtherHost = "out_other_host", Egress, "SIP from an address that --pbx does not name: left alone";
    InDoubtCostly = "in_doubt_costly", Ingress, "SIP: the headers take more steps to read than those of any device";
    OutDoubtCostly = "out_doubt_costly", Egress, "SIP: the headers take more steps to read than those of any device";
    KeepaliveAnswered = "keepalive_answered", Ingress, "answer to an OPTIONS of sipnat itself (--keepalive): dropped, and its time is kept";
    KeepaliveStray = "keepalive_stray", Ingress, "answer to an OPTIONS of sipnat itself that is late, repeated, or from another host: dropped";
    KeepaliveSent = "keepalive_sent", Egress, "OPTIONS of sipnat itself, which keeps a NAT mapping open: left alone";
    OutTaken = "out_taken", Egress, "another terminal has registered from the learned address since: left alone";
}
