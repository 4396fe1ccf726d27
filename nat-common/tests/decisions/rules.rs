//! Rules by which tables are found again after an upgrade.

use nat_common::abi::{Described as _, EPOCH_BITS, MediaBits, MediaSlot, RULES, TICK_SHIFT};
use nat_common::endpoint::Endpoint;
use nat_common::sip::Method;
use nat_common::tables::bindings::BindingKey as _;
use nat_common::tables::{hash, key};

use super::{ADVERTISED, Network, PHONE, endpoint};

/// FNV-1a of the text of a value.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An agent of another version takes tables over if their rules have the same number: what it looks for must lie where the
/// earlier programs have stored it. If this fails because a rule has changed, raise `RULES` and write the new digest here.
#[test]
fn what_an_earlier_version_has_stored_is_found() {
    const LAST: (u64, u64) = (1, 0xc4ae_396e_528c_b9dc);
    let net = Network::new();
    net.register();
    net.call();
    net.acknowledge();
    let mut dialogs: Vec<_> = net.dialogs().into_iter().collect();
    let mut contacts: Vec<_> = net.contacts().into_iter().collect();
    dialogs.sort_by_key(|(key, _)| key.words());
    contacts.sort_by_key(|(key, _)| key.words());
    assert_eq!((dialogs.len(), contacts.is_empty()), (1, false));
    let mut text = String::new();
    for (key, binding) in &dialogs {
        text += &format!(
            "{key:x?} {:x?} {:x} {:x}\n",
            key.home(),
            binding.aor,
            binding.call
        );
    }
    for (key, binding) in &contacts {
        text += &format!(
            "{key:x?} {:x?} {:x} {:x}\n",
            key.home(),
            binding.aor,
            binding.call
        );
    }
    let words = hash::words(1, 2, 3, &[4, 5]);
    let transaction = key::transaction(words, words.rotate_left(7), 1, Method::Invite);
    text += &format!("{transaction:x?} {TICK_SHIFT} {EPOCH_BITS}\n");
    text += &format!(
        "{:x?} {}\n",
        endpoint(PHONE).addr,
        endpoint(ADVERTISED).port
    );
    text += &format!(
        "{:x}\n",
        key::pbx(&endpoint(PHONE), true) ^ key::pbx(&endpoint(PHONE), false)
    );
    text += &format!("{}\n", size_of::<Endpoint>());
    assert_eq!((RULES, digest(&text)), LAST, "{text}");
}

/// Media go on in place if their fields have the same names. If this fails, a bit or a slot means another port: give the field of
/// `MediaBits` or `MediaSlot` another name.
#[test]
fn streams_of_an_earlier_version_are_found() {
    let bit = MediaBits::of(3, 10_000);
    assert_eq!((bit, MediaBits::slot(bit)), (80_003, 206_608));
    let fields = [MediaBits::FIELDS[0].name, MediaSlot::FIELDS[1].name];
    assert_eq!(fields, ["MediaBits.words", "MediaSlot.latch"]);
}
