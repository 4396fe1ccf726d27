//! Bytes of a frame, read and written within its bounds.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_common::datagram::{Datagram, Part};
use nat_common::sip::Direction;
use nat_common::stun::reply::checksum;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Hook that a program is attached to.
pub(crate) trait Hook {
    /// Context of its program.
    type Context: Context;
    /// Direction of its packets.
    const DIRECTION: Direction;
}

/// XDP: packets that arrive.
pub(crate) struct Ingress;

impl Hook for Ingress {
    type Context = xdp_md;
    const DIRECTION: Direction = Direction::In;
}

/// TC egress: packets that the PBX sends.
pub(crate) struct Egress;

impl Hook for Egress {
    type Context = __sk_buff;
    const DIRECTION: Direction = Direction::Out;
}

/// Frame in memory, by the context of the program that reads it.
///
/// Its bounds are read from the context each time. That costs little. A bound that is kept would have to be moved out of
/// registers and back, and would tell one round of a loop from another (see [`crate::repeat`]).
pub(crate) struct Frame<C> {
    context: *const C,
}

impl<C> Clone for Frame<C> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Frame<C> {}

/// Reads the pointer in a field of a context. The field has 32 bits, which the verifier turns into a pointer; a compiler
/// that sees the load may cut the pointer off to 32 bits again.
macro_rules! pointer {
    ($context:expr, $field:expr) => {{
        let pointer: usize;
        // SAFETY: the kernel gives a valid context, which this only reads. The compiler must take it to touch memory, and so
        // leaves it in its order.
        unsafe {
            asm!(
                "{pointer} = *(u32 *)({context} + {field})",
                context = in(reg) $context,
                field = const $field,
                pointer = out(reg) pointer,
                options(nostack),
            );
        }
        pointer
    }};
}

/// Context of a program: bounds of a frame.
pub(crate) trait Context: Sized {
    /// Field of the pointer to its first byte.
    const DATA: usize;
    /// Field of the pointer to the end of its first piece.
    const END: usize;

    /// Returns the pointer to its first byte.
    #[inline(always)]
    fn data(context: *const Self) -> usize {
        pointer!(context, Self::DATA)
    }

    /// Returns the pointer to the end of its first piece.
    #[inline(always)]
    fn end(context: *const Self) -> usize {
        pointer!(context, Self::END)
    }

    /// Returns its length in bytes, of all pieces.
    fn total(context: *const Self) -> u32;
}

impl Context for xdp_md {
    const DATA: usize = offset_of!(Self, data);
    const END: usize = offset_of!(Self, data_end);

    #[inline(always)]
    fn total(context: *const Self) -> u32 {
        // SAFETY: the kernel gives a valid context.
        unsafe { bpf_xdp_get_buff_len(context.cast_mut()) as u32 }
    }
}

impl Context for __sk_buff {
    const DATA: usize = offset_of!(Self, data);
    const END: usize = offset_of!(Self, data_end);

    #[inline(always)]
    fn total(context: *const Self) -> u32 {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*context).len }
    }
}

/// First bytes of a frame, whose bounds were checked once: a load is one instruction. It holds a packet
/// pointer, so it must not outlast a call that may move the frame.
#[derive(Clone, Copy)]
pub(crate) struct Start<const BYTES: usize> {
    at: usize,
}

impl<const BYTES: usize> Start<BYTES> {
    /// Loads eight bytes at an offset.
    #[inline(always)]
    pub(crate) fn load<const OFFSET: usize>(&self) -> u64 {
        const {
            assert!(OFFSET + 8 <= BYTES);
        }
        let word: u64;
        // SAFETY: the bounds were checked. In assembly, as in `Frame::load`.
        unsafe {
            asm!(
                "{word} = *(u64 *)({at} + {offset})",
                at = in(reg) self.at,
                offset = const OFFSET,
                word = out(reg) word,
                options(readonly, pure, nostack),
            );
        }
        word
    }
}

impl From<&XdpContext> for Frame<xdp_md> {
    #[inline(always)]
    fn from(ctx: &XdpContext) -> Self {
        Self { context: ctx.ctx }
    }
}

impl From<&TcContext> for Frame<__sk_buff> {
    #[inline(always)]
    fn from(ctx: &TcContext) -> Self {
        Self {
            context: ctx.skb.skb,
        }
    }
}

impl<C: Context> Frame<C> {
    /// Returns its length in bytes, of all pieces.
    #[inline(always)]
    pub(crate) fn total(&self) -> u32 {
        C::total(self.context)
    }

    /// Returns the length of its first piece.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        (C::end(self.context) - C::data(self.context)) as u32
    }

    /// Loads eight bytes at an offset, if they are all there.
    #[inline(always)]
    pub(crate) fn load(&self, offset: u32) -> Option<u64> {
        let at = self.pointer::<8>(offset)?;
        let word: u64;
        // SAFETY: the bounds were checked. In assembly, since BPF may read at any alignment and the
        // compiler would read byte by byte.
        unsafe {
            asm!(
                "{word} = *(u64 *)({at} + 0)",
                at = in(reg) at,
                word = out(reg) word,
                options(readonly, pure, nostack),
            );
        }
        Some(word)
    }

    /// Returns its first bytes, if they are all there.
    #[inline(always)]
    pub(crate) fn start<const BYTES: usize>(&self) -> Option<Start<BYTES>> {
        let at = C::data(self.context);
        (at + BYTES <= C::end(self.context)).then_some(Start { at })
    }

    /// Loads two bytes at an offset, as they lie in memory, if they are there.
    #[inline(always)]
    pub(crate) fn load_half(&self, offset: u32) -> Option<u16> {
        let at = self.pointer::<2>(offset)?;
        let half: u64;
        // SAFETY: the bounds were checked. In assembly, as in `load`.
        unsafe {
            asm!(
                "{half} = *(u16 *)({at} + 0)",
                at = in(reg) at,
                half = out(reg) half,
                options(readonly, pure, nostack),
            );
        }
        Some(half as u16)
    }

    /// Whether an answer can be made of it: one datagram in one piece, from one station to one, without IP options,
    /// and with an IPv4 header that the kernel would accept (RFC 1122 3.2.1.2).
    #[inline(always)]
    pub(crate) fn is_plain(&self, datagram: &Datagram) -> bool {
        /// Bits that mark a group address as source and destination. Switches drop frames from one.
        const GROUP: u64 = 1 | 1 << 48;
        let v4 = datagram.source.is_v4();
        let header = if v4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
        datagram.part == Part::Whole
            && datagram.udp - datagram.ip == header as u32
            && self.total() == self.len()
            && self.load(0).is_some_and(|word| word & GROUP == 0)
            && (!v4 || self.ipv4_checksum_is_right(datagram.ip))
    }

    /// Whether the checksum of an IPv4 header without options is right.
    #[inline(always)]
    fn ipv4_checksum_is_right(&self, ip: u32) -> bool {
        let (Some(first), Some(second), Some(third)) =
            (self.load(ip), self.load(ip + 8), self.load(ip + 12))
        else {
            return false;
        };
        let mut sum = third >> 32;
        for word in [first, second] {
            sum += (word >> 32) + (word & 0xffff_ffff);
        }
        checksum(sum) == 0
    }

    /// Writes four bytes at an offset, as they lie in memory. False if there are none.
    #[inline(always)]
    pub(crate) fn store(&self, offset: u32, word: u32) -> bool {
        let Some(at) = self.pointer::<4>(offset) else {
            return false;
        };
        // SAFETY: the bounds were checked. In assembly, as in `load`.
        unsafe {
            asm!(
                "*(u32 *)({at} + 0) = {word}",
                at = in(reg) at,
                word = in(reg) u64::from(word),
                options(nostack),
            );
        }
        true
    }

    /// Writes two bytes at an offset, as they lie in memory. False if there are none.
    #[inline(always)]
    pub(crate) fn store_half(&self, offset: u32, half: u16) -> bool {
        let Some(at) = self.pointer::<2>(offset) else {
            return false;
        };
        // SAFETY: the bounds were checked. In assembly, as in `load`.
        unsafe {
            asm!(
                "*(u16 *)({at} + 0) = {half}",
                at = in(reg) at,
                half = in(reg) u64::from(half),
                options(nostack),
            );
        }
        true
    }

    /// Returns a pointer to `BYTES` bytes at an offset, if they are all there.
    #[inline(always)]
    pub(crate) fn pointer<const BYTES: usize>(&self, offset: u32) -> Option<usize> {
        let mut at = C::data(self.context);
        // The verifier must see the bound of an offset on the very register that is added, and the check against the end on
        // the very pointer that is read.
        //
        // SAFETY: adds a number below 32768 to a pointer.
        unsafe {
            asm!(
                "{offset} &= 0x7fff",
                "{at} += {offset}",
                offset = inout(reg) u64::from(offset) => _,
                at = inout(reg) at,
                options(nomem, pure, nostack),
            );
        }
        if at + BYTES > C::end(self.context) {
            return None;
        }
        Some(at)
    }
}
