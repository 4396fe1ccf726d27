//! Media on memory: which streams a call has, which source each one latches, and where the PBX's packets go.

mod attacks;
mod guard;
mod latch;
mod pairing;
mod restore;

use nat_common::abi::{MediaCounter, MediaFlags, MediaSlot, SECOND};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine::{self, media as decide};
use nat_common::media::{self, Latch, LatchFlags};
use nat_common::sip::Direction;
use nat_test_oracle::env::MemoryEnv;

/// Source of the phone's signalling, behind NAT.
const PHONE: Endpoint = Endpoint::v4([60, 17, 196, 2], 49163);
const PBX: Endpoint = Endpoint::v4([203, 0, 113, 10], 5060);
/// Contact and media of the phone.
const PRIVATE: [u8; 4] = [192, 168, 1, 10];
const STRANGER: Endpoint = Endpoint::v4([198, 51, 100, 66], 6666);

/// Returns a description with an audio line, and more lines after it.
fn sdp(host: [u8; 4], port: u16, more: &str) -> String {
    let [a, b, c, d] = host;
    format!("v=0\r\nc=IN IP4 {a}.{b}.{c}.{d}\r\nm=audio {port} RTP/AVP 0\r\n{more}")
}

/// A PBX, a phone, and a call between them.
struct Call {
    env: MemoryEnv,
    id: &'static str,
    /// Tag of the side that opened the call.
    from_tag: &'static str,
    /// Tag of the side that did not open the call, once it is known.
    to_tag: &'static str,
    /// The phone opened the call.
    by_phone: bool,
    contact: [u8; 4],
}

impl Call {
    fn new(by_phone: bool) -> Self {
        Self {
            env: MemoryEnv::new(),
            id: "7@phone",
            from_tag: "from",
            to_tag: "",
            by_phone,
            contact: PRIVATE,
        }
    }

    fn text(&self, start: &str, cseq: &str, branch: &str, body: &str) -> String {
        let (from, to) = if self.by_phone {
            ("1000", "2000")
        } else {
            ("2000", "1000")
        };
        let [a, b, c, d] = self.contact;
        let to_tag = match self.to_tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{start}\r\nVia: SIP/2.0/UDP host;branch=z9hG4bK{branch}\r\nFrom: <sip:{from}@pbx>;tag={}\r\n\
             To: <sip:{to}@pbx>{to_tag}\r\nCall-ID: {}\r\nCSeq: {cseq}\r\nContact: <sip:1000@{a}.{b}.{c}.{d}:5060>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            self.from_tag,
            self.id,
            body.len()
        )
    }

    /// The phone sends a message, from the address of its signalling.
    fn phone(&self, start: &str, cseq: &str, branch: &str, body: &str) {
        self.arrives(PHONE, start, cseq, branch, body);
    }

    fn arrives(&self, source: Endpoint, start: &str, cseq: &str, branch: &str, body: &str) {
        let text = self.text(start, cseq, branch, body);
        let m = self
            .env
            .scan(text.as_bytes(), Direction::In)
            .expect("a message");
        let heard = engine::ingress(&self.env, &m, &source);
        let datagram = Datagram {
            source,
            destination: PBX,
            ..Datagram::default()
        };
        if decide::may_carry(&m) && self.env.describe(text.as_bytes()) {
            decide::incoming(&self.env, &m, heard, &datagram);
        }
    }

    fn pbx(&self, start: &str, cseq: &str, branch: &str, body: &str) {
        let text = self.text(start, cseq, branch, body);
        let m = self
            .env
            .scan(text.as_bytes(), Direction::Out)
            .expect("a message");
        let datagram = Datagram {
            source: PBX,
            destination: PHONE,
            ..Datagram::default()
        };
        let mut to = PHONE;
        engine::egress(&self.env, &m, &datagram, &mut to);
        if decide::may_carry(&m) && self.env.describe(text.as_bytes()) {
            decide::outgoing(&self.env, &m, &datagram);
        }
    }

    /// The phone begins the call.
    fn invites(&self, body: &str) {
        self.phone("INVITE sip:2000@pbx SIP/2.0", "1 INVITE", "1", body);
    }

    /// The PBX accepts the call.
    fn accepts(&self, body: &str) {
        self.pbx("SIP/2.0 200 OK", "1 INVITE", "1", body);
    }

    /// The PBX accepts the INVITE of a branch.
    fn accepts_in(&self, branch: &str, body: &str) {
        self.pbx("SIP/2.0 200 OK", "1 INVITE", branch, body);
    }

    /// The PBX calls the phone.
    fn is_called(&self, body: &str) {
        self.pbx("INVITE sip:1000@phone SIP/2.0", "1 INVITE", "1", body);
    }

    /// The phone tells of its progress.
    fn progresses(&self, body: &str) {
        self.phone("SIP/2.0 183 Progress", "1 INVITE", "1", body);
    }

    /// The phone accepts the call.
    fn answers(&self, body: &str) {
        self.phone("SIP/2.0 200 OK", "1 INVITE", "1", body);
    }

    /// A call of the phone, which both sides describe as usual.
    fn of_phone() -> Self {
        let mut call = Self::new(true);
        call.invites(&sdp(PRIVATE, 4000, ""));
        call.to_tag = "pbx";
        call.accepts(&sdp(PBX.as_v4(), 20_000, ""));
        call.phone("ACK sip:2000@pbx SIP/2.0", "1 ACK", "2", "");
        call
    }

    /// Slots that are used: port, advertised, peer, flags.
    fn slots(&self) -> Vec<(u16, String, String, MediaFlags)> {
        let mut slots = Vec::new();
        for ((_, port), slot) in self.env.media.borrow_mut().iter_mut() {
            // SAFETY: one thread.
            if !unsafe { media::is_used(&raw mut *slot) } {
                continue;
            }
            let peer = Endpoint {
                addr: slot.peer_addr,
                port: 0,
                reserved: 0,
            };
            let [advertised, peer] = [slot.advertised(), peer].map(show);
            let flags = slot.flags.difference(MediaFlags::OPEN);
            slots.push((*port, advertised, peer, flags));
        }
        slots
    }

    /// Events since the last call of this.
    fn events(&self) -> Vec<MediaCounter> {
        self.env.media_events.take()
    }

    fn wait(&self, seconds: u64) {
        self.env.now.set(self.env.now.get() + seconds * SECOND);
    }
}

fn show(endpoint: Endpoint) -> String {
    let [a, b, c, d] = endpoint.as_v4();
    format!("{a}.{b}.{c}.{d}:{}", endpoint.port)
}

/// Port that a slot has learned, if it has.
fn learned(slot: &MediaSlot) -> Option<u16> {
    let latch = Latch::from_word(slot.latch);
    latch
        .flags
        .contains(LatchFlags::LATCHED)
        .then_some(latch.port)
}
