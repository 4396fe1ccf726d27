//! The dotted quad and the port of a host.

use super::grammar::is_host_end;
use crate::bytes::Source;
use crate::bytes::hosts::DEFAULT_PORT;
use crate::bytes::swar::{byte, digits};

/// Reads a dotted quad. Returns the position after it, and its value.
#[inline(always)]
pub(super) fn dotted_quad<S: Source + ?Sized>(source: &S, at: u32) -> Option<(u32, u32)> {
    // Not a loop: a step of the machine must not hold one.
    octet(source, at, 0)
        .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
        .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
        .and_then(|(at, quad)| octet(source, dot(source, at)?, quad))
}

/// Reads an octet of a dotted quad and appends it to `quad`. Returns the position after it, and the new `quad`.
#[inline(always)]
fn octet<S: Source + ?Sized>(source: &S, at: u32, quad: u32) -> Option<(u32, u32)> {
    let (n, v) = digits(source.word(at));
    let is_octet = n > 0 && n < 4 && v < 256;
    is_octet.then_some((at + n, quad << 8 | v))
}

/// Reads a dot. Returns the position after it.
#[inline(always)]
fn dot<S: Source + ?Sized>(source: &S, at: u32) -> Option<u32> {
    (byte(source.word(at), 0) == b'.').then_some(at + 1)
}

/// Returns the port after a host that ends at `at`; 0 if what follows is neither a port nor the end of a host.
#[inline(always)]
pub(super) fn port<S: Source + ?Sized>(source: &S, at: u32) -> u32 {
    let w = source.word(at);
    if byte(w, 0) == b':' {
        let w = source.word(at + 1);
        let (n, v) = digits(w);
        return if n > 0 && n < 6 && v <= 0xffff && is_host_end(byte(w, n)) {
            v
        } else {
            0
        };
    }
    if is_host_end(byte(w, 0)) {
        DEFAULT_PORT
    } else {
        0
    }
}
