//! The engine's environment, from the maps and helpers of the kernel.

use core::marker::PhantomData;

use aya_ebpf::maps::lpm_trie::Key;
use nat_common::abi::{
    Binding, BindingFlags, Config, ContactKey, Counter, DIALOG_STATES, DialogKey, Entry,
    OutboundTransaction, Peer, Policy, Rate, Record, TEXT_LEN, Table, Value,
};
use nat_common::bpf::{Repeat, bounded};
use nat_common::bytes::{Source as _, Span, hosts, swar, users};
use nat_common::datagram::Part;
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::{
    Bindings, Buffer, Checksum, Clock, Env, Hashes, Journal, Rules, Tables, Text,
};
use nat_common::engine::media::{first_key, may_carry};
use nat_common::engine::stun::{self, Server};
use nat_common::engine::{self, Choice, Evidence, Placed, Route};
use nat_common::sip::{Direction, Field, Message, SPANS, URIS};
use nat_common::tables::bindings::{self as table, BindingKey, Found, Pushed, Stored};
use nat_common::tables::buckets::{self, Buckets};
use nat_common::tables::slots::{SlotKey, Slots};
use nat_common::tables::{hash, key, uri};

use crate::bindings;
use crate::clock;
use crate::frame::Egress;
use crate::maps::{self, BUCKETS, POLICY, STUN_TOTAL};
use crate::repeat::{Callback, MayGoto};
use crate::scratch::Scratch;

/// Form of an environment: whether it calls a function to hash words.
pub(crate) trait Mix {
    /// Hashes three words.
    fn mix(a: u64, b: u64, c: u64, secret: &[u64; 2]) -> u64;
}

/// Defines forms of an environment that call it.
macro_rules! calling {
    ($($form:ty)*) => {
        $(impl Mix for $form {
            #[inline(always)]
            fn mix(a: u64, b: u64, c: u64, secret: &[u64; 2]) -> u64 {
                // SAFETY: a valid reference.
                unsafe { mix(a, b, c, secret) }
            }
        })*
    };
}
calling!(() Callback MayGoto);

/// Form of the environment of a function that is verified once, and that requests within a dialog go through: it hashes without a
/// call. The CPU does not predict a return, so it would not begin what follows before the hash is done.
struct InPlace;

impl Mix for InPlace {
    #[inline(always)]
    fn mix(a: u64, b: u64, c: u64, secret: &[u64; 2]) -> u64 {
        hash::words(a, b, c, secret)
    }
}

/// The kernel, while one message is handled. `L` is the loop that reads the message's text; without it, there is none.
pub(crate) struct Kernel<'s, L = ()> {
    config: &'static Config,
    scratch: &'s Scratch,
    now: u64,
    pbx: u64,
    repeat: PhantomData<L>,
}

impl<'s> Kernel<'s> {
    /// An environment without the text of a message.
    #[inline(always)]
    pub(crate) fn new(config: &'static Config, scratch: &'s Scratch) -> Self {
        Self::at(config, scratch, clock::now())
    }

    /// An environment with the text of the message in scratch.
    #[inline(always)]
    pub(crate) fn reading<L>(config: &'static Config, scratch: &'s Scratch) -> Kernel<'s, L> {
        let Self {
            config,
            scratch,
            now,
            ..
        } = Self::new(config, scratch);
        Kernel {
            config,
            scratch,
            now,
            pbx: pbx(scratch, config),
            repeat: PhantomData,
        }
    }

    #[inline(always)]
    fn at(config: &'static Config, scratch: &'s Scratch, now: u64) -> Self {
        Self {
            config,
            scratch,
            now,
            pbx: 0,
            repeat: PhantomData,
        }
    }
}

impl<L> Kernel<'_, L> {
    /// Returns the scratch of this packet.
    #[inline(always)]
    pub(crate) fn scratch(&self) -> &Scratch {
        self.scratch
    }

    /// Returns the settings.
    #[inline(always)]
    pub(crate) fn config(&self) -> &'static Config {
        self.config
    }
}

/// Decides on the message in the scratch of a direction, in a function that is verified once; 0 if there is no scratch.
#[inline(always)]
fn within(
    direction: u32,
    pbx: u64,
    now: u64,
    decide: impl FnOnce(&Kernel<'_, Callback>) -> u32,
) -> u32 {
    within_form(direction, pbx, now, decide)
}

/// Does the same in an environment of any form.
#[inline(always)]
fn within_form<L>(
    direction: u32,
    pbx: u64,
    now: u64,
    decide: impl FnOnce(&Kernel<'_, L>) -> u32,
) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    decide(&Kernel {
        config,
        scratch: &scratch,
        now,
        pbx,
        repeat: PhantomData,
    })
}

/// Hashes three words. Verified once, as those of `nat_common::tables::slots`; so are the functions below.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn mix(a: u64, b: u64, c: u64, secret: *const [u64; 2]) -> u64 {
    if secret.is_null() {
        return 0;
    }
    // SAFETY: it comes from a reference.
    hash::words(a, b, c, unsafe { &*secret })
}

/// Places a dialog end of the message in the scratch of a direction. A [`Placed`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn place_dialog(
    direction: u32,
    call: u64,
    tag: u64,
    evidence: *const Evidence,
    now: u64,
) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    if evidence.is_null() {
        return 0;
    }
    // SAFETY: it comes from a reference.
    let evidence = unsafe { &*evidence };
    let env = Kernel::at(config, &scratch, now);
    engine::place_dialog(&env, &DialogKey { call, tag }, evidence) as u32
}

/// Places a contact of the draft in the scratch of a direction. A [`Placed`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_contact(direction: u32, uri: u64, aor: u64, now: u64) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    let env = Kernel::at(config, &scratch, now);
    engine::place_contact(&env, &ContactKey { uri, aor }) as u32
}

/// Makes the draft that of a further Contact of the REGISTER whose response is in the scratch of a direction. Not 0: there is one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn draft_further_contact(direction: u32, pbx: u64, now: u64, index: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::draft_further_contact(env, env.scratch.message(), index).into()
    })
}

/// Places the contact in the draft of the scratch of a direction under all its keys.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_registration(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::place_registration(env, env.scratch.message());
        1
    })
}

/// Stores the record in the scratch of a direction, and notes with the binding of a request what became of that.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn remember(direction: u32) -> u32 {
    within(direction, 0, 0, |env| {
        let used = env.scratch.used();
        if let Some(found) = Found::from_number(used.found) {
            used.found = 0;
            engine::note_route(env, found, used.is_dialog != 0);
        }
        maps::remember(env.scratch.record(), env.config.history_mask);
        1
    })
}

/// Stores the Request-URI of the request that the PBX sends.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn remember_request_uri() -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Egress>(), maps::config()) else {
        return 0;
    };
    let env = Kernel::<Callback> {
        config,
        scratch: &scratch,
        now: 0,
        pbx: 0,
        repeat: PhantomData,
    };
    engine::remember_request_uri(&env, scratch.message());
    1
}

/// Notes a further Contact of the REGISTER in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_further_contact(direction: u32, pbx: u64, now: u64, index: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_further_contact(env, env.scratch.message(), index);
        1
    })
}

/// Chooses between two addresses. A [`Choice`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choose(direction: u32, pbx: u64, now: u64, owner: u64, transmissions: u32) -> u32 {
    within_form(direction, pbx, now, |env: &Kernel<'_, InPlace>| {
        engine::choose(env, owner, transmissions) as u32
    })
}

/// Whether the contact in the draft may be followed by its URI alone. Not 0: it may.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn may_follow_uri(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::may_follow_uri(env).into()
    })
}

/// Notes that the pair of addresses in the scratch of a direction is proven. Not 0: it counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prove_pair(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::prove_pair(env, env.scratch.filled::<Peer>()).into()
    })
}

/// Notes that a terminal does not get what is sent to its learned address, by the pair of addresses in the scratch of a direction. Not 0: it
/// seemed to.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_deaf(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_deaf(env, env.scratch.filled::<Peer>()).into()
    })
}

/// Takes the route of the INVITE to which the message in the scratch of a direction belongs. Returns its time; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn route_of_invite(direction: u32, pbx: u64, now: u64) -> u64 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    let mut env = Kernel::at(config, &scratch, now);
    env.pbx = pbx;
    engine::route_of_invite(&env, scratch.message())
}

/// Notes one more transmission to the pair of addresses in the scratch of a direction. `again` not 0: of the same request.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_transmission(direction: u32, pbx: u64, now: u64, again: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_transmission(env, env.scratch.filled::<Peer>(), again != 0);
        1
    })
}

/// Notes that the address in the scratch of a direction is the learned address of its owner.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_resident(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_resident(env, env.scratch.filled::<Peer>());
        1
    })
}

/// Notes whether the PBX is a proxy: `proxy` not 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_proxy(direction: u32, pbx: u64, now: u64, proxy: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_proxy(env, proxy != 0);
        1
    })
}

/// Notes where the challenge to a REGISTER went. `how`: twice the repetitions of the REGISTER, and one if it was redirected.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_challenge(direction: u32, pbx: u64, cseq: u32, how: u32) -> u32 {
    within(direction, pbx, 0, |env| {
        engine::note_challenge(env, cseq, how & 1 != 0, (how >> 1) as u8);
        1
    })
}

/// Notes that the challenge before a REGISTER was heard where it went.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prove_challenge(direction: u32, pbx: u64, now: u64, cseq: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::prove_challenge(env, cseq);
        1
    })
}

/// Chooses between two hosts of the contact in the draft of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choose_host(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::choose_host(env);
        1
    })
}

/// Notes that a terminal is there again, by the pair of addresses in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_return(direction: u32, pbx: u64, now: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_return(env, env.scratch.filled::<Peer>());
        1
    })
}

/// Whether a request is for another host than the learned one, by the addresses in the scratch of a direction. Not 0: it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_for_another_host(direction: u32) -> u32 {
    within(direction, 0, 0, |env| {
        engine::is_for_another_host(env).into()
    })
}

/// Chooses between two addresses for a request that only a Contact URI names. A [`Choice`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choose_by_uri(direction: u32, pbx: u64, now: u64, transmissions: u32) -> u32 {
    within(direction, pbx, now, |env| {
        engine::choose_by_uri(env, transmissions) as u32
    })
}

/// Notes an OPTIONS by the words of its key.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_ping(direction: u32, pbx: u64, now: u64, tag: u64, rest: u64) -> u32 {
    within(direction, pbx, now, |env| {
        engine::note_ping(env, &SlotKey::from_words([tag, rest]));
        1
    })
}

/// Whether a URI of the REGISTER in the scratch of a direction names the domain of its address-of-record: that in the Route,
/// if `route` is not 0, else the Request-URI. `uri` is its [`uri_of`], `end` its [`plain_end`]. Not 0: it does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn names_domain(direction: u32, route: u32, uri: u32, end: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    let (m, socket) = (scratch.message(), scratch.socket());
    let domain = find_host(direction, m.span(Field::ToUri).start.into());
    engine::names_domain(scratch.text(), field(route), uri, end, domain, socket).into()
}

/// Finds such a URI; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn uri_of(direction: u32, route: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    engine::uri_of(scratch.text(), scratch.message(), field(route))
}

/// Whether the Route of the request in the scratch of a direction leads to its target. `route` and `request` are the
/// positions of two hosts, `end` is the [`plain_end`] of the Route. Not 0: it does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn leads_to_target(direction: u32, route: u32, end: u32, request: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    engine::leads_to_target(scratch.text(), route, end, request).into()
}

/// Finds the end of the URI with a host at a position, if it is a plain one with this port; else returns 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn plain_end(direction: u32, host: u32, port: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    let end = end_of_host(direction, host);
    hosts::plain_end(scratch.text(), end, port)
}

#[inline(always)]
fn field(route: u32) -> Field {
    if route == 0 {
        Field::RequestUri
    } else {
        Field::Route
    }
}

/// Finds the end of the host at a position of the message in the scratch of a direction; 0: none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn end_of_host(direction: u32, host: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    hosts::end_of(scratch.text(), host)
}

/// Finds the host of the URI at a position of the message in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_host(direction: u32, uri: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    hosts::find(scratch.text(), uri)
}

/// Loop in which parts of a message are hashed.
pub(crate) trait Hash: Repeat + Mix {
    /// Hashes parts of the message in the scratch of a direction.
    fn digest(direction: u32, parts: u32);
}

/// Hashes URIs of the message in the scratch of a direction. By callbacks in every program: the verifier of 6.12 takes 46,000
/// instructions more for `may_goto` here, since each kind of step leaves other values on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_uris(direction: u32, parts: u32) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    let (spans, hashes) = (&scratch.message().spans, &mut scratch.digest().hashes);
    let (text, secret) = (scratch.text(), &config.secret);
    uri::uris::<_, Callback>(text, spans, parts, secret, scratch.uri(), hashes);
    1
}

/// Returns the PBX's socket of the datagram in scratch, as it goes into keys.
#[inline(always)]
fn pbx(scratch: &Scratch, config: &Config) -> u64 {
    let ours = scratch.socket();
    key::pbx(ours, config.is_wildcard(ours))
}

/// Parts whose hashes name a transaction.
const NAMES: u32 = Field::CallId.bit() | Field::Branch.bit();

/// Prefetches the set in which the description in the message will be looked up, if it has one. The loads overlap with that of
/// the transaction's set.
#[inline(always)]
fn fetch_offer(scratch: &Scratch, config: &Config) {
    let m = scratch.message();
    if !may_carry(m) || !scratch.has_typed_body() {
        return;
    }
    let hashes = &scratch.digest().hashes;
    let call = hashes[Field::CallId as usize] ^ pbx(scratch, config);
    let branch = hashes[Field::Branch as usize];
    let by_pbx = scratch.direction() == Direction::Out as u32;
    let key = first_key(m, call, branch, by_pbx);
    let table = Table::Offers;
    maps::fetch_set(table, key.index & config.masks[table as usize]);
}

/// Defines the hashing of other parts of a message for a loop, as a function of its own.
macro_rules! digest {
    ($loop:ty, $name:ident, $fetches:literal) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(direction: u32, parts: u32) -> u32 {
            let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
                return 0;
            };
            let (text, cursor) = (scratch.text(), scratch.cursor());
            let spans = &scratch.message().spans;
            scratch.digest().add::<$loop>(spans, parts, |span| {
                hash::span::<_, $loop>(text, span, &config.secret, cursor)
            });
            if $fetches && parts & NAMES == NAMES && maps::is_media_on() {
                fetch_offer(&scratch, config);
            }
            1
        }

        impl Hash for $loop {
            #[inline(always)]
            fn digest(direction: u32, parts: u32) {
                if parts & URIS != 0 {
                    hash_uris(direction, parts & URIS);
                }
                if parts & !URIS != 0 {
                    $name(direction, parts & !URIS);
                }
            }
        }
    };
}
digest!(MayGoto, digest_by_goto, true);
// The stack has no space for more (6.1).
digest!(Callback, digest_by_callback, false);

/// Takes one request from a line of token buckets. 0: none is left.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn take(line: *mut Buckets, hash: u64, now: u64, rate: *const Rate) -> u32 {
    if line.is_null() || rate.is_null() {
        return 0;
    }
    // SAFETY: by the caller's promise.
    unsafe { buckets::take(line, hash, now, &*rate) }.into()
}

/// Whether the source of the datagram in the scratch of a direction is the learned address of a terminal. Not 0: it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_terminal(direction: u32, now: u64) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
        return 0;
    };
    let mut env = Kernel::at(config, &scratch, now);
    env.pbx = pbx(&scratch, config);
    stun::is_terminal(&env, &scratch.datagram().source).into()
}

/// Copies part of the message in the scratch of a direction into its draft.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_name(direction: u32, start: u32, len: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    let (message, draft) = (scratch.text(), scratch.binding(Buffer::Draft));
    let len = len.min(TEXT_LEN as u32);
    let text = draft.text.as_mut_ptr().cast::<u64>();
    for chunk in 0..TEXT_LEN as u32 / 8 {
        let at = chunk * 8;
        let word = swar::head(message.word(start + at), len.saturating_sub(at));
        // SAFETY: within the text, which lies at a multiple of eight.
        unsafe { text.add(chunk as usize).write(word) };
    }
    draft.text_len = len as u8;
    1
}

/// Whether two URIs of the message in the scratch of a direction have the same user. Not 0: they have.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn same_user(direction: u32, a: u32, a_len: u32, b: u32, b_len: u32) -> u32 {
    let Some(scratch) = Scratch::at(direction) else {
        return 0;
    };
    users::same(scratch.text(), span(a, a_len), span(b, b_len)).into()
}

/// Whether the hosts at two positions of the message in the scratch of a direction are the same. Not 0: they are.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn same_host(direction: u32, a: u32, b: u32) -> u32 {
    Scratch::at(direction).map_or(0, |scratch| hosts::same(scratch.text(), a, b).into())
}

/// Whether the user of a URI of the message in the scratch of a direction is a telephone number. Not 0: it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_number(direction: u32, uri: u32, len: u32) -> u32 {
    Scratch::at(direction).map_or(0, |scratch| {
        users::is_number(scratch.text(), span(uri, len)).into()
    })
}

/// Whether a terminal may have got an INVITE elsewhere (see [`Env::went_elsewhere`]). Not 0: it may.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn went_elsewhere(
    pbx: u64,
    now: u64,
    invite: *const OutboundTransaction,
    transmissions: u32,
) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Egress>(), maps::config()) else {
        return 0;
    };
    if invite.is_null() {
        return 0;
    }
    let mut env = Kernel::at(config, &scratch, now);
    env.pbx = pbx;
    // SAFETY: it comes from a reference.
    engine::went_elsewhere(&env, unsafe { &*invite }, transmissions).into()
}

/// Whether the owner's terminal has left an address since a time (see [`Env::has_left`]). Not 0: it has.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn has_left(
    pbx: u64,
    now: u64,
    owner: u64,
    address: *const Endpoint,
    since: u64,
) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Egress>(), maps::config()) else {
        return 0;
    };
    if address.is_null() {
        return 0;
    }
    let env = Kernel::<InPlace> {
        config,
        scratch: &scratch,
        now,
        pbx,
        repeat: PhantomData,
    };
    // SAFETY: it comes from a reference.
    engine::has_left(&env, owner, unsafe { &*address }, since).into()
}

/// Makes a span of numbers.
#[inline(always)]
const fn span(start: u32, len: u32) -> Span {
    Span {
        start: start as u16,
        len: len as u16,
    }
}

/// Checks the UDP checksum of the message in scratch.
#[inline(never)]
fn checksum<L: Repeat>(scratch: &Scratch, partial: bool) -> Checksum {
    let datagram = scratch.datagram();
    if datagram.part != Part::Whole || datagram.cut != 0 {
        return Checksum::Unknown;
    }
    let Some(sum) = scratch.new_text().sum::<L>() else {
        return Checksum::Unknown;
    };
    if datagram.has_right_checksum(sum, partial) {
        Checksum::Right
    } else {
        Checksum::Wrong
    }
}

impl<L> Clock for Kernel<'_, L> {
    #[inline(always)]
    fn now(&self) -> u64 {
        self.now
    }
}

impl<L: Mix> Hashes for Kernel<'_, L> {
    #[inline(always)]
    fn hash(&self, part: usize) -> u64 {
        let hashes = &self.scratch.digest().hashes;
        // SAFETY: the index is in bounds.
        unsafe { *hashes.get_unchecked(bounded::<SPANS>(part)) }
    }

    #[inline(always)]
    fn mix(&self, a: u64, b: u64, c: u64) -> u64 {
        L::mix(a, b, c, &self.config.secret)
    }

    #[inline(always)]
    fn pbx(&self) -> u64 {
        self.pbx
    }

    #[inline(always)]
    fn socket(&self) -> u32 {
        key::socket(self.scratch.socket())
    }
}

impl<L> Tables for Kernel<'_, L> {
    #[inline(always)]
    fn slots<V: Value>(&self, key: &SlotKey) -> Option<Slots<'_, V>> {
        let mask = self.config.masks[V::TABLE as usize];
        let set = maps::set(V::TABLE, key.index & mask)?;
        // SAFETY: an array map's value is always valid, aligned to eight, and only these programs write to it.
        Some(unsafe { Slots::new(set, self.scratch.copy()) })
    }

    #[inline(always)]
    fn entry<V: Value>(&self) -> &mut Entry<V> {
        self.scratch.entry()
    }
}

impl<L> Bindings for Kernel<'_, L> {
    #[inline(always)]
    fn buffer(&self, buffer: Buffer) -> &mut Binding {
        self.scratch.binding(buffer)
    }

    #[inline(always)]
    fn find<K: BindingKey>(&self, key: &K, to: Buffer) -> Option<Found> {
        bindings::find(self.scratch.direction(), key, to)
    }

    #[inline(always)]
    fn store<K: BindingKey>(&self, from: Buffer, found: Option<Found>) -> Stored {
        bindings::store::<K>(self.scratch.direction(), from, found, self.now)
    }

    #[inline(always)]
    fn pushed(&self) -> Pushed {
        self.scratch.room().pushed
    }

    #[inline(always)]
    fn set_flags<K: BindingKey>(&self, key: &K, found: Found, flags: BindingFlags) {
        table::set_flags(&bindings::sets::<K>(self.config), key, found, flags);
    }

    #[inline(always)]
    fn count_redirected<K: BindingKey>(&self, key: &K, found: Found) {
        table::count_redirected(&bindings::sets::<K>(self.config), key, found);
    }

    #[inline(always)]
    fn remove_contact(&self, key: &ContactKey, found: Found) {
        table::forget(&bindings::sets::<ContactKey>(self.config), key, found);
    }
}

impl<L> Rules for Kernel<'_, L> {
    #[inline(always)]
    fn policy(&self, learned: &Endpoint) -> Policy {
        POLICY
            .get(Key::new(128, learned.addr))
            .map_or(Policy::Off, |rule| rule.choice.into())
    }

    #[inline(always)]
    fn shadow(&self) -> bool {
        self.config.shadow != 0
    }

    #[inline(always)]
    fn kind_of(&self, endpoint: &Endpoint) -> u32 {
        maps::kind_of(endpoint)
    }

    #[inline(always)]
    fn dialog_lives(&self) -> &[u64; DIALOG_STATES] {
        &self.config.dialog_lives
    }

    #[inline(always)]
    fn settled(&self) -> bool {
        self.now >= self.config.settled
    }
}

impl<L> Journal for Kernel<'_, L> {
    #[inline(always)]
    fn record(&self) -> &mut Record {
        self.scratch.record()
    }

    #[inline(always)]
    fn remember(&self, _: &Record) {
        remember(self.scratch.direction());
    }

    #[inline(always)]
    fn count(&self, event: Counter) {
        self.scratch.record().events |= event.event_bit();
        maps::count(event);
    }
}

impl<L: Mix> Env for Kernel<'_, L> {
    #[inline(always)]
    fn evidence(&self) -> &mut Evidence {
        self.scratch.evidence()
    }

    #[inline(always)]
    fn route(&self) -> &mut Route {
        self.scratch.route()
    }

    #[inline(always)]
    fn place_dialog(&self, key: &DialogKey, evidence: &Evidence) -> Placed {
        let direction = self.scratch.direction();
        // SAFETY: a valid reference.
        let placed = unsafe { place_dialog(direction, key.call, key.tag, evidence, self.now) };
        (placed as u8).into()
    }

    #[inline(always)]
    fn place_contact(&self, key: &ContactKey) -> Placed {
        let placed = place_contact(self.scratch.direction(), key.uri, key.aor, self.now);
        (placed as u8).into()
    }

    #[inline(always)]
    fn draft_further_contact(&self, _: &Message, index: u32) -> bool {
        draft_further_contact(self.scratch.direction(), self.pbx, self.now, index) != 0
    }

    #[inline(always)]
    fn note_further_contact(&self, _: &Message, index: u32) {
        note_further_contact(self.scratch.direction(), self.pbx, self.now, index);
    }

    #[inline(always)]
    fn choose(&self, owner: u64, transmissions: u32) -> Choice {
        let direction = self.scratch.direction();
        (choose(direction, self.pbx, self.now, owner, transmissions) as u8).into()
    }

    #[inline(always)]
    fn may_follow_uri(&self) -> bool {
        may_follow_uri(self.scratch.direction(), self.pbx, self.now) != 0
    }

    #[inline(always)]
    fn has_left(&self, owner: u64, address: &Endpoint, since: u64) -> bool {
        // SAFETY: a valid reference.
        unsafe { has_left(self.pbx, self.now, owner, address, since) != 0 }
    }

    #[inline(always)]
    fn prove_pair(&self, _: &mut Entry<Peer>) -> bool {
        prove_pair(self.scratch.direction(), self.pbx, self.now) != 0
    }

    #[inline(always)]
    fn note_deaf(&self, _: &mut Entry<Peer>) -> bool {
        note_deaf(self.scratch.direction(), self.pbx, self.now) != 0
    }

    #[inline(always)]
    fn went_elsewhere(&self, invite: &OutboundTransaction, transmissions: u32) -> bool {
        // SAFETY: a valid reference.
        unsafe { went_elsewhere(self.pbx, self.now, invite, transmissions) != 0 }
    }

    #[inline(always)]
    fn route_of_invite(&self, _: &Message) -> u64 {
        route_of_invite(self.scratch.direction(), self.pbx, self.now)
    }

    /// It is done when the record is stored, by the same call.
    #[inline(always)]
    fn note_route(&self, found: Found, is_dialog: bool) {
        let used = self.scratch.used();
        used.found = found.number();
        used.is_dialog = is_dialog.into();
    }

    #[inline(always)]
    fn note_transmission(&self, _: &mut Entry<Peer>, again: bool) {
        note_transmission(self.scratch.direction(), self.pbx, self.now, again.into());
    }

    #[inline(always)]
    fn note_resident(&self, _: &mut Entry<Peer>) {
        note_resident(self.scratch.direction(), self.pbx, self.now);
    }

    #[inline(always)]
    fn note_proxy(&self, proxy: bool) {
        note_proxy(self.scratch.direction(), self.pbx, self.now, proxy.into());
    }

    #[inline(always)]
    fn note_challenge(&self, cseq: u32, redirected: bool, repetitions: u8) {
        let how = u32::from(repetitions) << 1 | u32::from(redirected);
        note_challenge(self.scratch.direction(), self.pbx, cseq, how);
    }

    #[inline(always)]
    fn prove_challenge(&self, cseq: u32) {
        prove_challenge(self.scratch.direction(), self.pbx, self.now, cseq);
    }

    #[inline(always)]
    fn choose_host(&self) {
        choose_host(self.scratch.direction(), self.pbx, self.now);
    }

    #[inline(always)]
    fn note_return(&self, _: &mut Entry<Peer>) {
        note_return(self.scratch.direction(), self.pbx, self.now);
    }

    #[inline(always)]
    fn is_for_another_host(&self) -> bool {
        is_for_another_host(self.scratch.direction()) != 0
    }

    #[inline(always)]
    fn choose_by_uri(&self, transmissions: u32) -> Choice {
        let direction = self.scratch.direction();
        (choose_by_uri(direction, self.pbx, self.now, transmissions) as u8).into()
    }

    #[inline(always)]
    fn note_ping(&self, ping: &SlotKey) {
        let [tag, rest] = ping.words();
        note_ping(self.scratch.direction(), self.pbx, self.now, tag, rest);
    }
}

impl<L: Hash> Text for Kernel<'_, L> {
    #[inline(always)]
    fn digest(&self, _: &Message, parts: u32) {
        L::digest(self.scratch.direction(), parts);
    }

    #[inline(always)]
    fn name(&self, span: Span) {
        copy_name(self.scratch.direction(), span.start.into(), span.len.into());
    }

    #[inline(always)]
    fn contact_address(&self, index: usize) -> &Endpoint {
        self.scratch.contact_address(index)
    }

    #[inline(always)]
    fn same_user(&self, a: Span, b: Span) -> bool {
        let direction = self.scratch.direction();
        let [a_len, b_len] = [a.len, b.len].map(u32::from);
        same_user(direction, a.start.into(), a_len, b.start.into(), b_len) != 0
    }

    #[inline(always)]
    fn same_host(&self, a: Span, b: Span) -> bool {
        let direction = self.scratch.direction();
        // Not called from one another, as above.
        let [a, b] = [a, b].map(|uri| find_host(direction, uri.start.into()));
        same_host(direction, a, b) != 0
    }

    #[inline(always)]
    fn is_number(&self, uri: Span) -> bool {
        is_number(self.scratch.direction(), uri.start.into(), uri.len.into()) != 0
    }

    #[inline(always)]
    fn names_domain(&self, _: &Message, field: Field) -> bool {
        let (direction, route) = (self.scratch.direction(), (field == Field::Route).into());
        // Not called from one another: more frames would be too much for the stack of 6.1.
        let uri = uri_of(direction, route);
        let end = plain_end(direction, uri, self.scratch.socket().port);
        uri != 0 && names_domain(direction, route, uri, end) != 0
    }

    #[inline(always)]
    fn leads_to_target(&self, _: &Message, port: u32) -> bool {
        let direction = self.scratch.direction();
        let uri = uri_of(direction, 1);
        let route = find_host(direction, uri);
        let end = plain_end(direction, route, port);
        let request = find_host(direction, uri_of(direction, 0));
        uri != 0 && leads_to_target(direction, route, end, request) != 0
    }

    #[inline(always)]
    fn place_registration(&self, _: &Message) {
        place_registration(self.scratch.direction(), self.pbx, self.now);
    }

    #[inline(always)]
    fn remember_request_uri(&self, _: &Message) {
        remember_request_uri();
    }

    #[inline(always)]
    fn checksum(&self) -> Checksum {
        checksum::<L>(self.scratch, self.config.partial_checksums != 0)
    }
}

impl<L: Mix> Server for Kernel<'_, L> {
    #[inline(always)]
    fn take(&self, hash: u64) -> bool {
        let Some(line) = BUCKETS.get_ptr_mut(hash as u32 & self.config.bucket_mask) else {
            return false;
        };
        // SAFETY: the value of an array map is always valid and aligned to eight; only these programs write to it, and so.
        unsafe { take(line, hash, self.now, &self.config.stun_rate) != 0 }
    }

    #[inline(always)]
    fn take_of_total(&self) -> bool {
        let Some(line) = STUN_TOTAL.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: as for `take`.
        unsafe { buckets::take_of_total(line, self.now, &self.config.stun_total) }
    }

    #[inline(always)]
    fn is_terminal(&self, _: &Endpoint) -> bool {
        is_terminal(self.scratch.direction(), self.now) != 0
    }
}
