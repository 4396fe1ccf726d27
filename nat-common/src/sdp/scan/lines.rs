//! Lines of a description: `c=`, `m=` and attributes (RFC 8866 5.7, 5.13, 5.14).

use super::expect::{Expect, Target, is_end};
use super::state::Scan;
use crate::bytes::Source;
use crate::bytes::swar::{before, below, byte, digits, first, head, literal, starts_with};
use crate::sdp::description::{Kind, LineFlags, Transport};
use crate::sdp::none::NoDescription;

impl Scan {
    /// Reads the start of a line.
    #[inline(always)]
    pub(super) fn line<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let value = source.word(at + 2);
        match (byte(w, 0), byte(w, 1)) {
            (b'c', b'=') => self.connection(at, value),
            (b'm', b'=') => self.media(source, at, value),
            (b'a', b'=') => self.attribute(source, at, value),
            // Two descriptions: which one counts depends on the reader.
            (b'v', b'=') => self.refuse(NoDescription::Duplicate),
            (b'-', b'-') => self.boundary(at),
            _ => self.go(at, Expect::Rest),
        }
    }

    /// Reads `c=`.
    #[inline(always)]
    pub(super) fn connection(&mut self, at: u32, value: u64) -> bool {
        let level = self.level();
        if level.has_address {
            level.flags |= LineFlags::UNREADABLE.bits();
        }
        level.has_address = true;
        self.begin_address(at + 2, value, Target::Connection)
    }

    /// Reads `IN IP4` or `IN IP6`, and goes on to the address. Any other is unknown.
    #[inline(always)]
    fn begin_address(&mut self, at: u32, value: u64, target: Target) -> bool {
        self.target = target;
        let expect = if head(value, 7) == literal(b"IN IP4 ") {
            self.address.set_empty();
            Expect::Ipv4
        } else if head(value, 7) == literal(b"IN IP6 ") {
            self.address.clear();
            Expect::Ipv6
        } else {
            return self.unknown_address(at);
        };
        self.go(at + 7, expect)
    }

    /// Reads the kind of media.
    #[inline(always)]
    pub(super) fn media<S: Source + ?Sized>(&mut self, source: &S, at: u32, value: u64) -> bool {
        if head(value, 6) == literal(b"audio ") {
            // Most lines are.
            self.begin_level().kind = Kind::Audio;
            return self.go(at + 8, Expect::Port);
        }
        let stops = below(value, 0x21);
        let name = before(value, stops);
        let mut n = first(stops);
        if n == 8 {
            n += first(below(source.word(at + 10), 0x21));
        }
        let after = byte(source.word(at + 2 + n), 0);
        let level = self.begin_level();
        level.kind = if name == literal(b"audio") {
            Kind::Audio
        } else if name == literal(b"video") {
            Kind::Video
        } else if name == literal(b"image") {
            Kind::Image
        } else if name == literal(b"text") {
            Kind::Text
        } else if name == literal(b"applicat") {
            Kind::Application
        } else {
            Kind::Other
        };
        if after != b' ' {
            level.flags |= LineFlags::UNREADABLE.bits();
            return self.go(at, Expect::Rest);
        }
        self.go(at + n + 3, Expect::Port)
    }

    /// Reads the port of an `m=` line. Several ports (`4000/2`) are unreadable.
    #[inline(always)]
    pub(super) fn port<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let (n, port) = digits(w);
        let level = self.level();
        if n == 0 || n > 5 || port > 0xffff || byte(w, n) != b' ' {
            level.flags |= LineFlags::UNREADABLE.bits();
            return self.go(at, Expect::Rest);
        }
        level.port = port as u16;
        self.go(at + n + 1, Expect::Transport)
    }

    /// Reads the protocol of an `m=` line.
    #[inline(always)]
    pub(super) fn transport<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        if w == literal(b"RTP/AVP ") {
            // Most lines have it.
            self.level().transport = Transport::Rtp;
            return self.go(at, Expect::Rest);
        }
        let n = if starts_with(w, b"rtp/avp") {
            7
        } else if starts_with(w, b"rtp/savp") {
            8
        } else if starts_with(w, b"udp/tls/") && starts_with(source.word(at + 8), b"rtp/savp") {
            16
        } else {
            0
        };
        let rest = source.word(at + n);
        // With feedback (RFC 4585): AVPF, SAVPF.
        let feedback = u32::from(byte(rest, 0) | 0x20 == b'f');
        self.level().transport = if n != 0 && is_end(byte(rest, feedback)) {
            Transport::Rtp
        } else if starts_with(w, b"udptl") && is_end(byte(w, 5)) {
            Transport::Udptl
        } else {
            Transport::Other
        };
        self.go(at, Expect::Rest)
    }

    /// Reads `a=`: names of attributes are case-sensitive (RFC 8866 5.13).
    #[inline(always)]
    pub(super) fn attribute<S: Source + ?Sized>(
        &mut self,
        source: &S,
        at: u32,
        value: u64,
    ) -> bool {
        const DIRECTIONS: u16 = LineFlags::NO_SEND.union(LineFlags::NO_RECEIVE).bits();
        if head(value, 5) == literal(b"rtcp:") {
            return self.go(at + 7, Expect::RtcpPort);
        }
        let rest = source.word(at + 10);
        let level = self.level();
        if value == literal(b"ice-ufra") && head(rest, 2) == literal(b"g:") {
            level.flags |= LineFlags::ICE.bits();
        }
        if is_end(byte(rest, 0)) {
            let direction = if value == literal(b"sendrecv") {
                0
            } else if value == literal(b"sendonly") {
                LineFlags::NO_RECEIVE.bits()
            } else if value == literal(b"recvonly") {
                LineFlags::NO_SEND.bits()
            } else if value == literal(b"inactive") {
                DIRECTIONS
            } else {
                if value == literal(b"rtcp-mux") {
                    level.flags |= LineFlags::MUX.bits();
                }
                return self.go(at, Expect::Rest);
            };
            level.has_direction = true;
            level.flags = level.flags & !DIRECTIONS | direction;
        }
        self.go(at, Expect::Rest)
    }

    /// Reads the port of `a=rtcp`, after which an address may come (RFC 3605 2.1).
    #[inline(always)]
    pub(super) fn rtcp_port<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let (n, port) = digits(w);
        let level = self.level();
        let is_port = n > 0 && n < 6 && port <= 0xffff && is_end(byte(w, n));
        if level.has_rtcp || !is_port {
            level.flags |= LineFlags::RTCP_ELSEWHERE.bits();
            return self.go(at, Expect::Rest);
        }
        level.has_rtcp = true;
        level.rtcp = port as u16;
        let next = source.word(at + n + 1);
        if byte(w, n) != b' ' || byte(next, 0) != b'I' {
            return self.go(at + n, Expect::Rest);
        }
        self.begin_address(at + n + 1, next, Target::Rtcp)
    }
}
