//! Kernel programs of the benchmarks. `feed` and `feed_tc` write the next message into the packet and tail-call the
//! measured program. `send` sends it. `pktgen` writes into packets of the kernel's generator. `count`, `bounce` and
//! `answers` are at the receiving end.
#![no_std]
#![no_main]

use core::ffi::c_void;
use core::hint::black_box;

use aya_ebpf::bindings::{
    TC_ACT_UNSPEC,
    xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_redirect, bpf_skb_store_bytes, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_bench_ebpf::{
    CALLS, CHECKSUM, DESTINATION, EDITS, Edit, FRAME, Job, SOURCE, Sample, TEMPLATES as MOST,
    Template, UDP, address, digits, edit, hex, identity, pktgen, port, rtp_port, seen, stream_port,
};
use nat_common::bpf::atomic::Word;

/// Job of the programs that write messages.
#[map]
static JOB: Array<Job> = Array::with_max_entries(1, 0);

/// Templates of messages.
#[map]
static TEMPLATES: Array<Template> = Array::with_max_entries(MOST, 0);

/// The program that gets the packets of `feed`.
#[map]
static XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that gets the packets of `feed_tc`.
#[map]
static TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Counters.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(seen::COUNT, 0);

/// An answer, sampled.
#[map]
static SAMPLE: Array<Sample> = Array::with_max_entries(1, 0);

/// An empty program that calls a function [`nat_bench_ebpf::CALLS`] times.
#[xdp(frags)]
pub(crate) fn calls(_ctx: XdpContext) -> u32 {
    let mut sum = 0;
    for _ in 0..CALLS {
        sum = called(sum);
    }
    black_box(sum);
    XDP_PASS
}

#[inline(never)]
fn called(number: u32) -> u32 {
    black_box(number)
}

/// Writes the next message into the packet, and tail-calls the program.
#[xdp(frags)]
pub(crate) fn feed(ctx: XdpContext) -> u32 {
    let Some(job) = JOB.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // The packet is that of the previous run, and may have grown at its head.
    //
    // SAFETY: a valid value; one CPU at a time feeds. A valid context.
    unsafe {
        let grown = bpf_xdp_get_buff_len(ctx.ctx) as i32 - (*job).last as i32;
        if (*job).last != 0 && grown > 0 {
            bpf_xdp_adjust_head(ctx.ctx, grown);
        }
    }
    if write(&Xdp(&ctx)).is_some() {
        // SAFETY: as above. Nothing is left to drop.
        unsafe {
            (*job).last = bpf_xdp_get_buff_len(ctx.ctx) as u32;
            XDP.tail_call(&ctx, 0);
        }
    }
    XDP_ABORTED
}

/// Does the same on egress. Without a program to call, it writes the payload for pktgen.
#[classifier]
pub(crate) fn feed_tc(ctx: TcContext) -> i32 {
    for i in 0..5 {
        // A repeated packet still has the mark of the previous program.
        // SAFETY: the kernel gives a valid context. Volatile, or they would be set all at once, which it refuses.
        unsafe { (&raw mut (*ctx.skb.skb).cb[i]).write_volatile(0) };
    }
    if write(&Skb(&ctx)).is_some() {
        // SAFETY: nothing is left to drop.
        unsafe { TC.tail_call(&ctx, 0) };
    }
    TC_ACT_UNSPEC
}

/// Writes the next message into a packet of the kernel's pktgen, which has no payload of its own.
#[classifier]
pub(crate) fn pktgen(ctx: TcContext) -> i32 {
    // Other packets of the machine are not changed.
    let ours = ctx.load(UDP + 2) == Ok(pktgen::PORT.to_be())
        && ctx.load(UDP + 8) == Ok(pktgen::MAGIC.to_be())
        && ctx.len() == length();
    if ours {
        write(&Skb(&ctx));
    }
    TC_ACT_UNSPEC
}

/// Length of the first template: those for pktgen all have the same length.
#[inline(always)]
fn length() -> u32 {
    TEMPLATES.get(0).map_or(0, |template| template.len)
}

/// Writes the next message into the packet, and sends it. Drops the packet if none is due.
#[xdp]
pub(crate) fn send(ctx: XdpContext) -> u32 {
    let Some(job) = JOB.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: a valid value; one CPU at a time sends.
    let (ifindex, due) = unsafe { ((*job).ifindex, is_due(&mut *job)) };
    if !due {
        return XDP_DROP;
    }
    if write(&Xdp(&ctx)).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: any number will do.
    unsafe { bpf_redirect(ifindex, 0) };
    XDP_REDIRECT
}

#[inline(always)]
fn is_due(job: &mut Job) -> bool {
    /// Late packets are sent at once, at most this number of them.
    const LATE: u64 = 16;
    if job.interval == 0 {
        return true;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if job.due > now {
        return false;
    }
    let earliest = now - LATE * job.interval;
    let due = if job.due < earliest {
        earliest
    } else {
        job.due
    };
    job.due = due + job.interval;
    true
}

/// An empty program.
#[xdp(frags)]
pub(crate) fn empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// An empty program.
#[classifier]
pub(crate) fn empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// An empty program that counts.
#[xdp]
pub(crate) fn count(_ctx: XdpContext) -> u32 {
    add(seen::ANY);
    XDP_PASS
}

/// Sends every packet back unchanged.
#[xdp]
pub(crate) fn bounce(_ctx: XdpContext) -> u32 {
    XDP_TX
}

/// Counts STUN success responses to requests of the benchmark, and all other packets.
#[xdp]
pub(crate) fn answers(ctx: XdpContext) -> u32 {
    let right = is_answer(&ctx).unwrap_or(false);
    let number = add(if right { seen::RIGHT } else { seen::OTHER });
    // Samples the first of each CPU, and then one of many.
    if right && number & 0x3fff == 0 {
        keep(&ctx);
    }
    XDP_DROP
}

/// The transaction ID begins with the identity of the source: the answer must go to its address.
#[inline(always)]
fn is_answer(ctx: &XdpContext) -> Option<bool> {
    /// A success response to a Binding request (RFC 8489 5).
    const SUCCESS: u16 = 0x0101;
    const STUN: usize = UDP + 8;
    let to: [u8; 4] = read(ctx, DESTINATION)?;
    let to_port: [u8; 2] = read(ctx, UDP + 2)?;
    let kind: [u8; 2] = read(ctx, STUN)?;
    let id = u32::from_be_bytes(read(ctx, STUN + 8)?);
    Some(
        u16::from_be_bytes(kind) == SUCCESS
            && u32::from_ne_bytes(to) == u32::from_ne_bytes(address(id))
            && u16::from_be_bytes(to_port) == port(id),
    )
}

/// Length of the frame.
#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, at: usize) -> Option<T> {
    let place = ctx.data() + at;
    if place + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: within the frame, as was just checked.
    Some(unsafe { (place as *const T).read_unaligned() })
}

fn keep(ctx: &XdpContext) {
    let Some(sample) = SAMPLE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: valid values; only one CPU gets the answers.
    unsafe {
        let len = bpf_xdp_get_buff_len(ctx.ctx) as u32;
        let len = if len > 256 { 256 } else { len };
        // From 1 to 256, as the verifier can see.
        let len = (len.wrapping_sub(1) & 0xff) + 1;
        let bytes = (&raw mut (*sample).bytes).cast::<c_void>();
        bpf_xdp_load_bytes(ctx.ctx, 0, bytes, len);
        (*sample).len = len;
    }
}

/// Increments a counter. Returns its previous value.
#[inline(always)]
fn add(what: u32) -> u64 {
    let Some(cell) = SEEN.get_ptr_mut(what) else {
        return 1;
    };
    // SAFETY: a valid value; only this CPU writes it.
    unsafe {
        let before = *cell;
        *cell = before + 1;
        before
    }
}

/// A packet that can be changed.
trait Packet {
    /// Sets its length.
    fn resize(&self, len: u32);
    /// # Safety
    /// `from` must be valid for `len` bytes.
    unsafe fn store(&self, at: u32, from: *const c_void, len: u32);
}

struct Xdp<'c>(&'c XdpContext);

impl Packet for Xdp<'_> {
    #[inline(always)]
    fn resize(&self, len: u32) {
        // SAFETY: a valid context.
        unsafe {
            let now = bpf_xdp_get_buff_len(self.0.ctx) as i32;
            bpf_xdp_adjust_tail(self.0.ctx, len as i32 - now);
        }
    }

    #[inline(always)]
    unsafe fn store(&self, at: u32, from: *const c_void, len: u32) {
        // SAFETY: as promised. A message that does not fit is not written, and the packet is counted by its old
        // contents.
        unsafe { bpf_xdp_store_bytes(self.0.ctx, at, from.cast_mut(), len) };
    }
}

struct Skb<'c>(&'c TcContext);

impl Packet for Skb<'_> {
    /// Keeps its length: the rest behind the datagram is padding.
    #[inline(always)]
    fn resize(&self, _len: u32) {}

    #[inline(always)]
    unsafe fn store(&self, at: u32, from: *const c_void, len: u32) {
        // SAFETY: as promised.
        unsafe { bpf_skb_store_bytes(self.0.skb.skb, at, from, len, 0) };
    }
}

/// Writes the next message. Returns none if there is none.
#[inline(always)]
fn write(packet: &impl Packet) -> Option<()> {
    let job = JOB.get_ptr_mut(0)?;
    // SAFETY: a valid value. Where several CPUs write messages, they change nothing but the number, and that so.
    let (number, job) = unsafe {
        let number = Word::new(&raw mut (*job).next).fetch_add(1);
        (number as u32, *job)
    };
    let mut pick = number;
    let mut template = number;
    if job.random != 0 {
        // Known identities are numbered far from new ones.
        let random = identity(number ^ 0x9e37_79b9);
        pick = random;
        template = random >> 12;
    }
    let new = identity(number);
    let picked = identity(pick & job.picks);
    let template = TEMPLATES.get(template & job.templates)?;
    if template.len == 0 {
        return None;
    }
    // From 1 to the room there is, as kernels before 6.8 can see, too.
    let len = (template.len.wrapping_sub(1) & (FRAME as u32 - 1)) + 1;
    packet.resize(len);
    // SAFETY: the template has room for more.
    unsafe { packet.store(0, template.bytes.as_ptr().cast(), len) };
    for i in 0..EDITS {
        let Edit { at, kind } = template.edits[i];
        if kind == edit::NONE {
            break;
        }
        let id = if kind & edit::PICKED != 0 {
            picked
        } else {
            new
        };
        if kind == edit::RTP {
            put(packet, u32::from(at), &rtp_port(number));
            continue;
        }
        if kind == edit::STREAM {
            let port = stream_port(pick & job.picks);
            put(packet, u32::from(at), &port.to_be_bytes());
            continue;
        }
        change(
            packet,
            template.sum,
            u32::from(at),
            kind & !edit::PICKED,
            id,
        );
    }
    Some(())
}

#[inline(always)]
fn change(packet: &impl Packet, sum: u32, at: u32, kind: u16, id: u32) {
    match kind {
        edit::SOURCE => {
            set_address(packet, sum, SOURCE, address(id));
            put(packet, UDP as u32, &port(id).to_be_bytes());
        }
        edit::SOURCE_ADDRESS => set_address(packet, sum, SOURCE, address(id)),
        edit::DESTINATION => {
            set_address(packet, sum, DESTINATION, address(id));
            put(packet, UDP as u32 + 2, &port(id).to_be_bytes());
        }
        edit::DESTINATION_ADDRESS => set_address(packet, sum, DESTINATION, address(id)),
        edit::HEX => put(packet, at, &hex(id)),
        edit::RAW => put(packet, at, &id.to_be_bytes()),
        edit::ADDRESS => {
            let [_, a, b, c] = address(id).map(digits);
            let text = [
                a[0], a[1], a[2], b'.', b[0], b[1], b[2], b'.', c[0], c[1], c[2],
            ];
            put(packet, at, &text);
        }
        _ => {}
    }
}

/// Sets an IPv4 address, and updates the header's checksum.
#[inline(always)]
fn set_address(packet: &impl Packet, sum: u32, at: usize, address: [u8; 4]) {
    let [a, b, c, d] = address;
    let sum = sum + u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    put(packet, CHECKSUM as u32, &(!sum as u16).to_be_bytes());
    put(packet, at as u32, &address);
}

#[inline(always)]
fn put<const N: usize>(packet: &impl Packet, at: u32, bytes: &[u8; N]) {
    // SAFETY: a valid reference.
    unsafe { packet.store(at, bytes.as_ptr().cast(), N as u32) };
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the programs panics; the verifier would refuse this loop if it were reachable.
    loop {}
}

/// Licence of the programs that are measured.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
