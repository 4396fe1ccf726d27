//! Dialog ends: made, moved and ended by the PBX's answers to requests of the phone.

use nat_common::abi::{BindingFlags, Counter, SECOND};
use nat_common::endpoint::Endpoint;
use nat_common::engine::lifetimes::of_dialogs;

use crate::{
    ADVERTISED, MOVED, Network, PHONE, STRANGER, call_phone, from_pbx, from_phone, register,
};

#[test]
fn only_101_to_299_activates_a_new_dialog_end() {
    for (status, event) in [
        (100, None),
        (101, Some(Counter::DialogActivated)),
        (180, Some(Counter::DialogActivated)),
        (200, Some(Counter::DialogActivated)),
        (299, Some(Counter::DialogActivated)),
        (300, Some(Counter::PendingDropped)),
        (401, Some(Counter::PendingDropped)),
        (486, Some(Counter::PendingDropped)),
        (603, Some(Counter::PendingDropped)),
    ] {
        for method in ["INVITE", "SUBSCRIBE", "REFER"] {
            // An INVITE is not pending.
            let event = event.filter(|_| method != "INVITE" || status < 300);
            let net = Network::new();
            let m = from_phone(method, 1, "a");
            net.arrives(PHONE, &m);
            let counted = net.sends(PHONE, &m.answer(status)).1;
            assert_eq!(
                counted.first().copied().filter(|_| counted.len() > 1),
                event,
                "{method} {status}"
            );
            let early = net
                .active()
                .first()
                .map(|b| b.flags.contains(BindingFlags::EARLY));
            let active = event == Some(Counter::DialogActivated);
            // A REFER confirms nothing: its subscription is short (RFC 3515 2.4.4).
            let unconfirmed = status < 200 || method == "REFER";
            assert_eq!(early, active.then_some(unconfirmed), "{method} {status}");
        }
    }
}

#[test]
fn other_methods_create_no_dialog() {
    for method in ["OPTIONS", "MESSAGE", "PUBLISH", "NOTIFY", "BYE", "REGISTER"] {
        let net = Network::new();
        let m = from_phone(method, 1, "a");
        assert_eq!(net.arrives(PHONE, &m), [Counter::InRequest]);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(net.active(), [], "{method}");
    }
}

/// A PBX answers an OPTIONS of anybody with 200, whatever tag its To has.
#[test]
fn a_request_that_needs_no_dialog_begins_none() {
    for method in ["OPTIONS", "MESSAGE", "PUBLISH", "FOO"] {
        let net = Network::new();
        let m = from_phone(method, 1, "a").tagged("invented");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(net.active(), [], "{method}");
    }
    for method in ["INVITE", "BYE", "UPDATE", "INFO", "NOTIFY", "REFER"] {
        let net = Network::new();
        let m = from_phone(method, 1, "a").tagged("begun-before");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(net.active().len(), 1, "{method}");
    }
}

/// Somebody else knows both tags, as by a transfer (`Replaces`) or by the PBX's news of a busy line (RFC 4235). A PBX that asks him
/// for credentials in an INVITE answers his OPTIONS. A request that it takes in the dialog alone tells where the terminal is.
#[test]
fn a_request_that_needs_no_dialog_moves_none() {
    for (method, from, to) in [
        ("OPTIONS", STRANGER, PHONE),
        ("MESSAGE", STRANGER, PHONE),
        ("PUBLISH", STRANGER, PHONE),
        ("FOO", STRANGER, PHONE),
        ("INVITE", MOVED, MOVED),
        ("UPDATE", MOVED, MOVED),
        ("INFO", MOVED, MOVED),
        ("NOTIFY", MOVED, MOVED),
        ("REFER", MOVED, MOVED),
        ("SUBSCRIBE", MOVED, MOVED),
    ] {
        let net = Network::new();
        net.call();
        net.acknowledge();
        net.wait(1);
        let known = net.active()[0];
        let m = from_phone(method, 2, "b").tagged("pbx");
        net.arrives(from, &m);
        assert_eq!(net.sends(from, &m.answer(200)).0, from);
        if to == PHONE {
            assert_eq!(net.active(), [known], "{method}");
        }
        assert_eq!(net.reinvite("r").0, to, "{method}");
    }
}

#[test]
fn a_dialog_end_says_whose_it_is() {
    let net = Network::new();
    net.call();
    let [b] = net.active()[..] else { panic!() };
    assert_eq!(&b.text[..usize::from(b.text_len)], b"1000@pbx");
    assert_eq!(b.learned, Endpoint::v4(PHONE.0, PHONE.1));
    assert_eq!(b.advertised, Endpoint::v4(ADVERTISED.0, ADVERTISED.1));
    assert!(b.flags.contains(BindingFlags::DIRECT));
}

#[test]
fn requests_in_a_dialog_go_to_its_end() {
    let net = Network::new();
    net.call();
    for method in [
        "INVITE", "BYE", "UPDATE", "INFO", "NOTIFY", "REFER", "PRACK", "MESSAGE", "OPTIONS", "ACK",
    ] {
        let (to, counted) = net.sends(ADVERTISED, &from_pbx(method, 102, method));
        assert_eq!(
            (to, counted),
            (PHONE, vec![Counter::OutRedirectedDialog]),
            "{method}"
        );
    }
    assert_eq!(net.active()[0].redirected, 10);
}

#[test]
fn another_dialog_is_not_this_one() {
    let net = Network::new();
    net.call();
    let mut other = from_pbx("BYE", 2, "b");
    other.to = "<sip:1000@pbx>;tag=other".into();
    for m in [other, from_pbx("BYE", 2, "b").call("other")] {
        assert_eq!(
            net.sends(ADVERTISED, &m),
            (ADVERTISED, vec![Counter::OutUnknownRequest])
        );
    }
}

#[test]
fn an_accepted_request_in_the_dialog_moves_its_end() {
    let net = Network::new();
    net.call();
    let update = from_phone("UPDATE", 2, "u").tagged("pbx");
    net.arrives(MOVED, &update);
    assert_eq!(net.reinvite("1").0, PHONE, "not before it is accepted");
    net.sends(MOVED, &update.answer(403));
    assert_eq!(net.reinvite("2").0, PHONE, "refused");
    let update = from_phone("UPDATE", 3, "v").tagged("pbx");
    net.arrives(MOVED, &update);
    net.sends(MOVED, &update.answer(183));
    assert_eq!(net.reinvite("3").0, PHONE, "provisional");
    assert_eq!(
        net.sends(MOVED, &update.answer(200)).1[0],
        Counter::DialogMoved
    );
    assert_eq!(net.reinvite("4").0, MOVED);
    assert_eq!(net.active()[0].text_len, 8, "whose it is stays known");
}

/// The PBX sent its request before it accepted the terminal's new address. The terminal has left the old one, so an answer from
/// there is not the terminal's.
#[test]
fn an_answer_to_an_older_request_does_not_bring_the_old_address_back() {
    let net = Network::new();
    net.call();
    let update = from_phone("UPDATE", 2, "u").tagged("pbx");
    net.arrives(MOVED, &update);
    net.wait(1);
    let invite = from_pbx("INVITE", 102, "a");
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    net.wait(1);
    let counted = net.sends(MOVED, &update.answer(200)).1;
    assert_eq!(counted[0], Counter::DialogMoved);
    net.wait(1);
    let counted = net.arrives(PHONE, &invite.answer(200));
    assert!(counted.contains(&Counter::DialogStale), "{counted:?}");
    assert_eq!(net.reinvite("b").0, MOVED);
}

#[test]
fn an_older_request_does_not_bring_the_old_address_back() {
    let net = Network::new();
    net.call();
    let new = from_phone("UPDATE", 5, "u").tagged("pbx");
    let late = from_phone("UPDATE", 4, "v").tagged("pbx");
    net.arrives(PHONE, &late);
    net.wait(1);
    net.arrives(MOVED, &new);
    net.sends(MOVED, &new.answer(200));
    assert_eq!(
        net.sends(PHONE, &late.answer(200)).1[0],
        Counter::DialogStale
    );
    assert_eq!(net.reinvite("1").0, MOVED);
    // What arrives later counts, whatever its CSeq: the PBX has accepted it.
    net.wait(1);
    let lower = from_phone("UPDATE", 2, "w").tagged("pbx");
    net.arrives(PHONE, &lower);
    assert_eq!(
        net.sends(PHONE, &lower.answer(200)).1[0],
        Counter::DialogMoved
    );
}

#[test]
fn a_new_dialog_does_not_take_a_live_one_over() {
    let net = Network::new();
    net.call();
    // Same Call-ID and tag, without To-tag: an open PBX would answer it.
    let invite = from_phone("INVITE", 9, "z");
    net.arrives(STRANGER, &invite);
    assert_eq!(
        net.sends(STRANGER, &invite.answer(200)).1[0],
        Counter::DialogGuarded
    );
    assert_eq!(net.reinvite("1").0, PHONE);
}

#[test]
fn bye_ends_a_dialog_end_after_32_seconds() {
    let net = Network::new();
    net.call();
    let bye = from_phone("BYE", 2, "b").tagged("pbx");
    net.arrives(PHONE, &bye);
    assert_eq!(
        net.sends(PHONE, &bye.answer(200)).1[0],
        Counter::DialogEnded
    );
    net.wait(31);
    assert_eq!(net.reinvite("1").0, PHONE, "kept for retransmissions");
    net.wait(2);
    assert_eq!(net.reinvite("2").0, ADVERTISED);
}

#[test]
fn bye_of_the_pbx_ends_it_too() {
    let net = Network::new();
    net.call();
    let bye = from_pbx("BYE", 102, "b");
    net.sends(ADVERTISED, &bye);
    assert_eq!(
        net.arrives(PHONE, &bye.answer(200)),
        [
            Counter::PeerProven,
            Counter::DialogEnded,
            Counter::InResponse
        ]
    );
    net.wait(33);
    assert_eq!(net.active(), []);
}

/// A dialog end that moves begins to live anew.
#[test]
fn a_dialog_end_that_moves_lasts() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    net.wait(11 * 3600);
    let update = from_phone("UPDATE", 2, "u").tagged("pbx");
    net.arrives(MOVED, &update);
    net.sends(MOVED, &update.answer(200));
    net.wait(11 * 3600);
    assert_eq!(net.reinvite("late").0, MOVED);
}

/// A call that rings is early, however often the PBX says so.
#[test]
fn ringing_again_is_no_answer() {
    for (status, to) in [(180, ADVERTISED), (200, PHONE)] {
        let net = Network::new();
        let invite = from_phone("INVITE", 1, "invite");
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(180));
        net.wait(1);
        net.sends(PHONE, &invite.answer(status));
        net.acknowledge();
        net.wait(301);
        assert_eq!(net.reinvite("late").0, to, "{status}");
    }
}

#[test]
fn dialogs_expire() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(180));
    net.wait(301);
    assert_eq!(net.active(), [], "early");
    net.call();
    net.wait(12 * 3600 - 1);
    assert_eq!(net.active().len(), 1);
    net.wait(2);
    assert_eq!(net.active(), []);
}

#[test]
fn dialogs_expire_as_the_user_says() {
    let mut net = Network::new();
    net.0.dialog_lives = of_dialogs(1800 * SECOND, 600 * SECOND);
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(180));
    net.wait(599);
    assert_eq!(net.active().len(), 1, "early");
    net.wait(2);
    assert_eq!(net.active(), [], "early");
    net.call();
    net.acknowledge();
    net.wait(1799);
    assert_eq!(net.active().len(), 1);
    // Each message of the dialog counts.
    let update = from_phone("UPDATE", 2, "u").tagged("pbx");
    net.arrives(PHONE, &update);
    net.sends(PHONE, &update.answer(200));
    net.wait(1799);
    assert_eq!(net.active().len(), 1);
    net.wait(2);
    assert_eq!(net.active(), []);
}

/// Whatever shows that the terminal has the dialog does for an ACK; the 2xx again does not.
#[test]
fn an_invite_without_ack_is_not_confirmed() {
    let flags = |net: &Network| net.active()[0].flags & BindingFlags::UNACKNOWLEDGED;
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    for status in [180, 200, 200] {
        net.sends(PHONE, &invite.answer(status));
        let waits = flags(&net) == BindingFlags::UNACKNOWLEDGED;
        assert_eq!(waits, status == 200);
    }
    net.acknowledge();
    assert!(flags(&net).is_empty());
    net.sends(PHONE, &invite.answer(200));
    assert!(flags(&net).is_empty(), "a late 2xx");
    let net = Network::new();
    net.call();
    let info = from_pbx("INFO", 102, "i");
    net.sends(ADVERTISED, &info);
    net.arrives(PHONE, &info.answer(200));
    assert!(flags(&net).is_empty());
}

#[test]
fn a_late_message_does_not_revive_an_ended_dialog() {
    let net = Network::new();
    net.call();
    let bye = from_phone("BYE", 2, "b").tagged("pbx");
    net.arrives(PHONE, &bye);
    net.sends(PHONE, &bye.answer(200));
    let late = from_phone("INFO", 3, "i").tagged("pbx");
    net.arrives(MOVED, &late);
    net.sends(MOVED, &late.answer(200));
    net.wait(33);
    assert_eq!(net.active(), []);
    // Nor do messages make it last longer, from there or from elsewhere.
    for source in [PHONE, MOVED] {
        let net = Network::new();
        net.call();
        net.arrives(PHONE, &bye);
        net.sends(PHONE, &bye.answer(200));
        net.wait(5);
        net.arrives(source, &late);
        net.sends(source, &late.answer(200));
        let ends: Vec<_> = net.dialogs().into_values().collect();
        assert_eq!(ends[0].learned, Endpoint::v4(source.0, source.1));
        assert_eq!(ends[0].expires, net.now.get() + 27 * SECOND);
    }
}

#[test]
fn a_challenged_bye_ends_nothing() {
    for (status, left) in [(200, 0), (401, 1), (407, 1), (408, 0), (481, 0), (500, 1)] {
        let net = Network::new();
        net.call();
        let bye = from_pbx("BYE", 102, "b");
        net.sends(ADVERTISED, &bye);
        net.arrives(PHONE, &bye.answer(status));
        net.wait(33);
        assert_eq!(net.active().len(), left, "{status}");
    }
}

/// The PBX has been started again, and knows the phone's call no more.
#[test]
fn a_bye_that_the_pbx_knows_no_dialog_for_ends_it() {
    for (source, method, status, left) in [
        (PHONE, "BYE", 481, 0),
        (PHONE, "BYE", 500, 1),
        // A subscription within the call is unknown, not the call (RFC 6665 4.1.3).
        (PHONE, "NOTIFY", 481, 1),
        // Somebody else who knows both tags.
        (MOVED, "BYE", 481, 1),
        (STRANGER, "BYE", 481, 1),
    ] {
        let net = Network::new();
        net.call();
        let m = from_phone(method, 2, "b").tagged("pbx");
        net.arrives(source, &m);
        net.sends(source, &m.answer(status));
        assert_eq!(net.reinvite("r").0, PHONE, "{method} {status}");
        net.wait(33);
        assert_eq!(net.active().len(), left, "{method} {status}");
    }
    // It makes no dialog end either.
    let net = Network::new();
    let m = from_phone("BYE", 2, "b").tagged("pbx");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(481));
    assert_eq!(net.active(), []);
}

/// A PBX that answers every request must not fill the table for long.
#[test]
fn a_dialog_not_seen_to_begin_is_kept_shortly_at_first() {
    let net = Network::new();
    let update = from_phone("UPDATE", 1, "o").tagged("pbx");
    net.arrives(PHONE, &update);
    net.sends(PHONE, &update.answer(200));
    assert!(net.active()[0].flags.contains(BindingFlags::EARLY));
    net.wait(1);
    net.sends(PHONE, &update.answer(200));
    let early = net.active()[0].flags.contains(BindingFlags::EARLY);
    assert!(early, "the same answer again");
    for (method, cseq) in [("UPDATE", 2), ("INVITE", 3)] {
        net.wait(1);
        let again = from_phone(method, cseq, method).tagged("pbx");
        net.arrives(PHONE, &again);
        net.sends(PHONE, &again.answer(200));
        let early = net.active()[0].flags.contains(BindingFlags::EARLY);
        assert_eq!(early, method == "UPDATE", "{method}");
    }
    net.wait(3600);
    assert_eq!(net.active().len(), 1);
}

/// An ACK within a dialog goes to the current address of the terminal, even if its INVITE went elsewhere.
#[test]
fn an_ack_follows_a_terminal_that_moved() {
    let net = Network::new();
    net.call();
    net.reinvite("reinvite");
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    net.arrives(MOVED, &moves);
    net.sends(MOVED, &moves.answer(200));
    let (to, _) = net.sends(ADVERTISED, &from_pbx("ACK", 102, "reinvite"));
    assert_eq!(to, MOVED);
}

/// A party that was rung knows the Call-ID and the caller's tag, but not the tag of who answered.
#[test]
fn a_request_with_another_tag_of_the_pbx_moves_nothing() {
    let net = Network::new();
    net.call();
    for invented in ["invented", "phone"] {
        let info = from_phone("INFO", 7, invented).tagged(invented);
        net.arrives(STRANGER, &info);
        net.sends(STRANGER, &info.answer(200));
        assert_eq!(net.reinvite(invented).0, PHONE);
    }
}

/// The attacker's own call has claimed Call-ID and tag of the victim's next one.
#[test]
fn a_call_of_the_same_name_is_another_dialog() {
    let net = Network::new();
    let own = from_phone("INVITE", 1, "evil");
    net.arrives(STRANGER, &own);
    net.sends(STRANGER, &own.answer(200).tagged_as("evil"));
    net.call();
    assert_eq!(net.reinvite("r").0, PHONE);
}

/// Another socket of the host is another PBX.
#[test]
fn another_socket_of_the_host_changes_nothing() {
    const V4: Endpoint = Endpoint::v4([203, 0, 113, 10], 5060);
    let v6 = |high: u64, low: u64, port| Endpoint {
        addr: [high.to_be(), low.to_be()],
        port,
        reserved: 0,
    };
    const HIGH: u64 = 0x2001_0db8 << 32;
    for (pbx, other) in [
        (V4, Endpoint::v4([203, 0, 113, 10], 5080)),
        (V4, Endpoint::v4([203, 0, 113, 11], 5060)),
        (v6(HIGH, 16, 5060), v6(HIGH, 16, 5080)),
        (v6(HIGH, 16, 5060), v6(HIGH, 17, 5060)),
        (v6(HIGH, 16, 5060), v6(HIGH + 1, 16, 5060)),
        (v6(HIGH, 16, 5060), v6(0xfe80 << 48, 16, 5060)),
        (v6(HIGH, 16, 5060), V4),
    ] {
        let net = Network::new();
        net.socket.set(pbx);
        net.call();
        net.register();
        let pbx = net.socket.replace(other);
        net.wait(1);
        let update = from_phone("UPDATE", 9, "u").tagged("pbx");
        net.arrives(STRANGER, &update);
        net.sends(STRANGER, &update.answer(200));
        for (cseq, contact) in [(9, "<sip:1000@192.168.1.10>"), (10, "*")] {
            let registration = register(cseq, "r9", contact).with("Expires: 60");
            net.arrives(STRANGER, &registration);
            net.sends(STRANGER, &registration.answer(200));
        }
        net.socket.set(pbx);
        assert_eq!(net.reinvite("r").0, PHONE);
        assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
    }
}

/// Tags are shorter than keys.
#[test]
fn a_binding_of_another_key_is_not_used() {
    let net = Network::new();
    net.call();
    net.register();
    net.change_bindings(|binding| binding.key[1] ^= 1);
    assert_eq!(
        net.reinvite("reinvite"),
        (ADVERTISED, vec![Counter::OutUnknownRequest])
    );
    assert_eq!(
        net.sends(ADVERTISED, &call_phone("incoming")).1,
        [Counter::OutUnknownRequest]
    );
}

#[test]
fn a_full_table_is_counted() {
    let net = Network::new();
    net.full.set(true);
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    assert_eq!(
        net.sends(PHONE, &invite.answer(200)).1[0],
        Counter::TableFull
    );
}
