//! Evidence: the host tests check each rule, and these tests check that the rules hold with the kernel's maps.

use std::thread;

use nat_common::abi::{BindingFlags, SECOND};
use nat_common::engine::lifetimes::of_dialogs;

use crate::frames::{
    ADVERTISED, CALL, INVITE, OTHER_PHONE, PHONE, PRIVATE, REGISTER, STRANGER, answer, in_dialog,
    inbound, outbound,
};
use crate::run::{Path, TICK, endpoint};

#[test]
fn a_dialog_end() {
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, INVITE));
    assert_eq!(path.events(PHONE, &answer(INVITE, "100 Trying")), [""; 0]);
    assert!(path.dialogs().is_empty());
    assert_eq!(
        path.events(PHONE, &answer(INVITE, "180 Ringing")),
        ["dialog_activated"]
    );
    let [early] = path.dialogs()[..] else {
        panic!("one dialog end")
    };
    assert!(
        early
            .flags
            .contains(BindingFlags::EARLY | BindingFlags::DIRECT)
    );
    assert_eq!(early.learned, endpoint(PHONE));
    assert_eq!(early.advertised, endpoint(ADVERTISED));
    assert_eq!(&early.text[..usize::from(early.text_len)], b"1000@pbx");
    assert_eq!(early.expires - early.seen, 300 * SECOND);
    assert_eq!(
        path.events(PHONE, &answer(INVITE, "200 OK")),
        ["dialog_refreshed"]
    );
    let [confirmed] = path.dialogs()[..] else {
        panic!("one dialog end")
    };
    assert!(!confirmed.flags.contains(BindingFlags::EARLY));
    assert_eq!(
        (confirmed.created, confirmed.arrived),
        (early.created, early.arrived)
    );
    assert_eq!(confirmed.expires - confirmed.seen, 12 * 3600 * SECOND);
}

/// `--dialog-idle` and `--dialog-early`.
#[test]
fn lives_are_settings() {
    let mut path = Path::new();
    path.configure(|config| config.dialog_lives = of_dialogs(1800 * SECOND, 600 * SECOND));
    path.arrives(&inbound(PHONE, INVITE));
    for (status, seconds) in [("180 Ringing", 600), ("200 OK", 1800)] {
        path.events(PHONE, &answer(INVITE, status));
        let [dialog] = path.dialogs()[..] else {
            panic!("one dialog end")
        };
        assert_eq!(dialog.expires - dialog.seen, seconds * SECOND, "{status}");
    }
}

#[test]
fn a_refusal() {
    let mut path = Path::new();
    let subscribe = INVITE.replace("INVITE", "SUBSCRIBE");
    for (request, event) in [(INVITE, &[][..]), (&subscribe, &["pending_dropped"])] {
        path.arrives(&inbound(PHONE, request));
        assert_eq!(
            path.events(PHONE, &answer(request, "401 Unauthorized")),
            event
        );
    }
    assert!(path.dialogs().is_empty());
    path.arrives(&inbound(PHONE, REGISTER));
    assert_eq!(
        path.events(PHONE, &answer(REGISTER, "403 Forbidden")),
        [""; 0]
    );
    assert!(path.contacts().is_empty());
}

/// Each of the first four Contacts of a REGISTER counts, with its own time and address.
#[test]
fn several_contacts() {
    let mut path = Path::new();
    let register = REGISTER.replace(
        "<sip:1000@60.17.196.2>",
        "<sip:1000@60.17.196.2;transport=tcp>, <sip:1000@60.17.196.2>,<sip:1001@192.168.1.10:5062>,\
         <sip:9@[2001:db8::9]>;expires=0",
    );
    path.arrives(&inbound(PHONE, &register));
    let granted = "Contact: <sip:1001@192.168.1.10:5062>;expires=9, <sip:1000@60.17.196.2>;expires=77\r\n\
                   Content-Length";
    let ok = answer(&register, "200 OK").replace("Content-Length", granted);
    assert_eq!(
        path.events(PHONE, &ok),
        ["contact_activated", "contact_removed"]
    );
    let contacts = path.contacts();
    let mut found: Vec<_> = contacts
        .iter()
        .filter(|contact| contact.key[1] != 0)
        .map(|contact| {
            assert_eq!(contact.learned, endpoint(PHONE));
            assert_eq!(&contact.text[..usize::from(contact.text_len)], b"1000@pbx");
            let own_user = contact.flags.contains(BindingFlags::OWN_USER);
            let seconds = (contact.expires - contact.seen) / SECOND;
            (seconds, contact.advertised.port, own_user)
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [(9, 5062, false), (77, 5060, true), (3600, 5060, true)]
    );
}

#[test]
fn a_contact() {
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, REGISTER));
    let granted =
        "Contact: <sip:x@y>;expires=9, <sip:1000@60.17.196.2>;expires=77\r\nContent-Length";
    let ok = answer(REGISTER, "200 OK").replace("Content-Length", granted);
    assert_eq!(path.events(PHONE, &ok), ["contact_activated"]);
    let contacts = path.contacts();
    assert_eq!(
        contacts.len(),
        3,
        "with and without its address-of-record, and by its address"
    );
    for contact in contacts {
        assert_eq!(contact.learned, endpoint(PHONE));
        assert_eq!(contact.expires - contact.seen, 77 * SECOND);
        let without_owner = contact.key[1] == 0;
        let text: &[u8] = if without_owner {
            b"1000@60.17.196.2"
        } else {
            b"1000@pbx"
        };
        assert_eq!(&contact.text[..usize::from(contact.text_len)], text);
    }
    let remove = REGISTER
        .replace("1 REGISTER", "2 REGISTER")
        .replace("z9hG4bK-reg", "z9hG4bK-remove")
        .replace("196.2>\r\n", "196.2>;expires=0\r\n");
    path.arrives(&inbound(PHONE, &remove));
    assert_eq!(
        path.events(PHONE, &answer(&remove, "200 OK")),
        ["contact_removed"]
    );
    assert!(path.contacts().is_empty());
}

#[test]
fn an_answer_to_the_pbx() {
    let mut path = Path::new();
    path.register();
    let answered = answer(CALL, "200 OK").replace("tag=pbx\r\nCall-ID", "tag=phone\r\nCall-ID");
    assert_eq!(
        path.arrives(&inbound(STRANGER, &answered)),
        "in_response_unasked"
    );
    path.then_goes_to(CALL, ADVERTISED, PHONE, "out_redirected_contact");
    assert_eq!(
        path.arrives(&inbound(STRANGER, &answered)),
        "in_response_elsewhere"
    );
    assert!(path.dialogs().is_empty());
    assert_eq!(path.arrives(&inbound(PHONE, &answered)), "in_response");
    let [dialog] = path.dialogs()[..] else {
        panic!("one dialog end")
    };
    assert_eq!(dialog.learned, endpoint(PHONE));
    let bye = in_dialog("BYE", "b").replace("call@192.168.1.10", "incoming");
    assert_eq!(
        path.sends(&outbound(ADVERTISED, &bye)).2,
        "out_redirected_dialog"
    );
}

#[test]
fn a_notify_ahead_of_the_answer() {
    let subscribe = INVITE.replace("INVITE", "SUBSCRIBE");
    let notify = in_dialog("NOTIFY", "n");
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, &subscribe));
    path.then_goes_to(&notify, ADVERTISED, PHONE, "out_redirected_dialog");
    // Nothing but a NOTIFY comes ahead of the answer.
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, &subscribe));
    let update = outbound(ADVERTISED, &in_dialog("UPDATE", "u"));
    assert_eq!(path.leaves(&update), "out_unknown_request");
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, &subscribe));
    path.arrives(&inbound(
        STRANGER,
        &subscribe.replace("z9hG4bK-phone", "z9hG4bK-other"),
    ));
    let notify = outbound(ADVERTISED, &notify);
    assert_eq!(path.leaves(&notify), "out_unknown_request");
}

#[test]
fn a_stranger_with_the_call_id_and_tag() {
    let mut path = Path::new();
    path.call();
    let forged = INVITE
        .replace("z9hG4bK-phone", "z9hG4bK-forged")
        .replace("1 INVITE", "9 INVITE");
    path.arrives(&inbound(STRANGER, &forged));
    assert_eq!(
        path.events(STRANGER, &answer(&forged, "200 OK")),
        ["dialog_guarded"]
    );
    assert_eq!(path.dialogs()[0].learned, endpoint(PHONE));
}

/// Returns the phone's next request within its call.
fn next(method: &str, cseq: u32) -> String {
    INVITE
        .replace("INVITE", method)
        .replace("sip:1002@pbx>", "sip:1002@pbx>;tag=pbx")
        .replace("z9hG4bK-phone", &format!("z9hG4bK-{method}{cseq}"))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
}

/// Only what arrived before is late; a lower CSeq is not.
#[test]
fn a_dialog_end_moves_when_accepted_and_not_back() {
    let mut path = Path::new();
    path.call();
    path.arrives(&inbound(PHONE, &next("UPDATE", 4)));
    thread::sleep(TICK);
    path.arrives(&inbound(STRANGER, &next("INVITE", 3)));
    assert_eq!(path.dialogs()[0].learned, endpoint(PHONE), "not yet");
    assert_eq!(
        path.events(STRANGER, &answer(&next("INVITE", 3), "180 Ringing")),
        [""; 0]
    );
    assert_eq!(
        path.events(STRANGER, &answer(&next("INVITE", 3), "200 OK")),
        ["dialog_moved"]
    );
    assert_eq!(path.dialogs()[0].learned, endpoint(STRANGER));
    assert_eq!(
        path.events(PHONE, &answer(&next("UPDATE", 4), "200 OK")),
        ["dialog_stale"]
    );
    assert_eq!(path.dialogs()[0].learned, endpoint(STRANGER));
    let bye = in_dialog("BYE", "b");
    path.goes_to(&bye, PRIVATE, STRANGER, "out_redirected_dialog");
    path.arrives(&inbound(PHONE, &next("UPDATE", 2)));
    assert_eq!(
        path.events(PHONE, &answer(&next("UPDATE", 2), "200 OK")),
        ["dialog_moved"]
    );
    assert_eq!(path.dialogs()[0].learned, endpoint(PHONE));
}

#[test]
fn a_bye() {
    let mut path = Path::new();
    path.call();
    let bye = next("BYE", 2);
    path.arrives(&inbound(PHONE, &bye));
    assert_eq!(
        path.events(PHONE, &answer(&bye, "200 OK")),
        ["dialog_ended"]
    );
    let [ended] = path.dialogs()[..] else {
        panic!("one dialog end")
    };
    assert!(ended.flags.contains(BindingFlags::ENDED));
    assert_eq!(ended.expires - ended.seen, 32 * SECOND);
}

/// The branch of the response is that of no request.
#[test]
fn an_answer_to_nothing() {
    let mut path = Path::new();
    path.arrives(&inbound(PHONE, INVITE));
    let unknown = answer(INVITE, "200 OK").replace("z9hG4bK-phone", "z9hG4bK-guessed");
    assert_eq!(
        path.leaves(&outbound(PHONE, &unknown)),
        "out_unknown_response"
    );
    assert!(path.dialogs().is_empty());
}

#[test]
fn every_contact_is_removed() {
    let mut path = Path::new();
    path.register();
    let remove = REGISTER
        .replace("1 REGISTER", "2 REGISTER")
        .replace("z9hG4bK-reg", "z9hG4bK-star")
        .replace(
            "Contact: <sip:1000@60.17.196.2>",
            "Contact: *\r\nExpires: 0",
        );
    thread::sleep(TICK);
    path.arrives(&inbound(PHONE, &remove));
    path.then_goes_to(CALL, ADVERTISED, PHONE, "out_redirected_contact");
    assert_eq!(
        path.events(PHONE, &answer(&remove, "200 OK")),
        ["contact_removed"]
    );
    let again = outbound(ADVERTISED, &CALL.replace("z9hG4bK-call", "z9hG4bK-again"));
    assert_eq!(path.leaves(&again), "out_unknown_request");
}

/// Two terminals register one Contact for two addresses-of-record: To distinguishes them, and the Request-URI does not.
/// If its user is that of one of them, a request that names neither is meant for that one.
#[test]
fn a_contact_that_two_claim() {
    for (user, event) in [("line", "contact_ambiguous"), ("1000", "contact_outranked")] {
        let with_user = |text: &str| text.replace("sip:1000@60.17", &format!("sip:{user}@60.17"));
        let mut path = Path::new();
        let of_owner = |owner: &str| {
            with_user(REGISTER)
                .replace("sip:1000@pbx", &format!("sip:{owner}@pbx"))
                .replace("Call-ID: registration", &format!("Call-ID: {owner}"))
        };
        for (owner, source, events) in [
            ("1000", PHONE, &["contact_activated"][..]),
            ("2000", OTHER_PHONE, &["contact_activated", event]),
        ] {
            path.arrives(&inbound(source, &of_owner(owner)));
            let answer = answer(&of_owner(owner), "200 OK");
            assert_eq!(path.events(source, &answer), events, "{user}: {owner}");
        }
        let to = |owner: &str| {
            with_user(CALL)
                .replace("To: <sip:1000", &format!("To: <sip:{owner}"))
                .replace("z9hG4bK-call", &format!("z9hG4bK-{owner}"))
        };
        for (owner, learned) in [("1000", PHONE), ("2000", OTHER_PHONE)] {
            path.then_goes_to(&to(owner), ADVERTISED, learned, "out_redirected_contact");
        }
        let neither = to("sales");
        if user == "1000" {
            path.then_goes_to(&neither, ADVERTISED, PHONE, "out_redirected_contact");
        } else {
            let verdict = path.leaves(&outbound(ADVERTISED, &neither));
            assert_eq!(verdict, "out_ambiguous");
        }
    }
}
