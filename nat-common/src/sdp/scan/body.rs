//! Start and end of the description in the body.

use super::expect::{Body, Expect, Header, Section};
use super::state::Scan;
use crate::bytes::Source;
use crate::bytes::swar::{byte, head, literal};
use crate::sdp::none::NoDescription;
use crate::sip::Content;

impl Scan {
    /// Begins at the body of a message whose headers were read.
    #[inline(always)]
    pub(super) fn begin_at<S: Source + ?Sized>(&mut self, source: &S, content: &Content) -> bool {
        for (header, value) in [
            (Header::Type, content.kind),
            (Header::Length, content.length),
        ] {
            if value != 0 {
                self.header = header;
                self.seen |= header.bit();
                if !self.value(source, value) {
                    return false;
                }
            }
        }
        self.begin_body(source, content.body)
    }

    /// Begins the body at `at`, after the empty line. Without a Content-Length it goes to the end of the datagram (RFC 3261
    /// 18.3).
    #[inline(always)]
    pub(super) fn begin_body<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let all = source.len();
        self.last = true;
        if self.has_length() {
            let end = at + self.length;
            if end > all && self.whole {
                return self.refuse(NoDescription::Truncated);
            }
            if end < self.end {
                self.end = end;
                self.last = false;
            }
            self.last |= end == all;
        }
        if at >= self.end {
            return self.refuse(NoDescription::Absent);
        }
        if self.encoded {
            return self.refuse(NoDescription::Encoded);
        }
        if self.body == Body::Other {
            return self.refuse(NoDescription::OtherType);
        }
        self.section = Section::Before;
        self.go(at, Expect::Line)
    }

    /// Whether the body may be walked over: a description alone, of which nothing is cut off.
    #[inline(always)]
    pub(super) fn is_walkable<S: Source + ?Sized>(&self, source: &S) -> bool {
        self.whole && self.body == Body::Description && is_version(source.word(self.at))
    }

    /// Looks for the first line of the description (RFC 8866 5.1). A multipart body has other lines before it.
    #[inline(always)]
    pub(super) fn before<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        if is_version(source.word(at)) {
            self.section = Section::Description;
        } else if self.body != Body::Multipart {
            return self.refuse(NoDescription::Syntax);
        }
        self.go(at, Expect::Rest)
    }

    /// Ends the description at the boundary of a multipart body (RFC 2046 5.1.1). No line of a description begins so.
    #[inline(always)]
    pub(super) fn boundary(&mut self, at: u32) -> bool {
        if self.body == Body::Multipart {
            self.section = Section::After;
        }
        self.go(at, Expect::Rest)
    }

    /// Reads a line after the description. There must be no second one, which other parsers might take instead.
    #[inline(always)]
    pub(super) fn after<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        if is_version(source.word(at)) {
            return self.refuse(NoDescription::Duplicate);
        }
        self.go(at, Expect::Rest)
    }
}

/// Whether `w` begins with the first line of a description.
#[inline(always)]
const fn is_version(w: u64) -> bool {
    head(w, 3) == literal(b"v=0") && matches!(byte(w, 3), b' ' | b'\t' | b'\r' | b'\n')
}
