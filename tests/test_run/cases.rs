//! A table of cases: a packet in, the verdict, and the packet out.
//!
//! To add a case, add a row to [`cases`]. A row says, from left to right:
//!
//! 1. its name, for the message of a failure;
//! 2. the state before: [`Nothing`], the phone's [`Call`] or its [`Registration`], both accepted by the PBX. [`Repeated`]:
//!    the answer to the call has not arrived. [`Proven`]: the registered phone has answered at its learned address;
//! 3. the packet: [`arrives`] from an address, or [`sent`] by the PBX to an address, with a SIP message. Messages are in
//!    `frames.rs`; a small difference is made by `replace`;
//! 4. the verdict: the one counter of the packet (`sipnat stats` names it);
//! 5. the packet out: [`Unchanged`], or redirected [`To`] an address, which changes the destination and the checksums
//!    and nothing else.
//!
//! Each row runs on empty maps. `cargo xtask test test-run -- cases` runs the table alone.

use crate::frames::{
    ADVERTISED, CALL, INVITE, PHONE, PRIVATE, REGISTER, STRANGER, answer, in_dialog, inbound,
    outbound,
};
use crate::run::Path;

use Before::{Call, Nothing, Proven, Registration, Repeated};
use Out::{To, Unchanged};

/// State of the maps before the packet.
#[derive(Clone, Copy)]
enum Before {
    /// Empty maps.
    Nothing,
    /// The phone has called, the PBX has answered, and the phone has acknowledged.
    Call,
    /// The phone has called, the PBX has answered by Via, and the phone has called again.
    Repeated,
    /// The phone has registered and the PBX has accepted.
    Registration,
    /// The same, and the phone has answered a call at its learned address.
    Proven,
}

/// Packet of a case.
struct Packet {
    is_ingress: bool,
    peer: &'static str,
    message: String,
}

/// Packet after the program has run.
#[derive(Clone, Copy)]
enum Out {
    /// The same frame, passed on.
    Unchanged,
    /// The same message, to this address.
    To(&'static str),
}

/// A message that arrives at the PBX.
fn arrives(from: &'static str, message: impl Into<String>) -> Packet {
    Packet {
        is_ingress: true,
        peer: from,
        message: message.into(),
    }
}

/// A message that the PBX sends.
fn sent(to: &'static str, message: impl Into<String>) -> Packet {
    Packet {
        is_ingress: false,
        peer: to,
        message: message.into(),
    }
}

#[rustfmt::skip]
fn cases() -> Vec<(&'static str, Before, Packet, &'static str, Out)> {
    let unknown = in_dialog("BYE", "b").replace("call@192.168.1.10", "unknown");
    let routed = in_dialog("BYE", "b").replace("From:", "Route: <sip:edge;lr>\r\nFrom:");
    let by_uri = CALL.replace("To: <sip:1000@pbx>", "To: <sip:sales@pbx>");
    let other_user = CALL.replace("sip:1000@60.17.196.2", "sip:1001@60.17.196.2");
    vec![
        // Requests that arrive are learned, and pass.
        ("INVITE",                     Nothing,      arrives(PHONE, INVITE),                           "in_request",              Unchanged),
        ("REGISTER",                   Nothing,      arrives(PHONE, REGISTER),                         "in_request",              Unchanged),
        ("ACK",                        Nothing,      arrives(PHONE, INVITE.replace("INVITE", "ACK")),  "in_ack",                  Unchanged),
        ("INVITE again",               Call,         arrives(PHONE, INVITE),                           "in_repeat",               Unchanged),
        ("INVITE from elsewhere",      Call,         arrives(STRANGER, INVITE),                        "in_other_source",         Unchanged),
        ("response to no request",     Call,         arrives(STRANGER, answer(CALL, "200 OK")),        "in_response_unasked",     Unchanged),
        // Responses of the PBX go to the source of the request.
        ("response by Via",            Call,         sent(ADVERTISED, answer(INVITE, "200 OK")),       "out_original_first",      Unchanged),
        ("response by Via, again",     Repeated,     sent(ADVERTISED, answer(INVITE, "200 OK")),       "out_redirected_response", To(PHONE)),
        ("response by a private Via",  Call,         sent(PRIVATE, answer(INVITE, "200 OK")),          "out_redirected_response", To(PHONE)),
        ("response to the source",     Call,         sent(PHONE, answer(INVITE, "200 OK")),            "out_already_there",       Unchanged),
        ("response to no request",     Nothing,      sent(ADVERTISED, answer(INVITE, "200 OK")),       "out_unknown_response",    Unchanged),
        // Requests of the PBX within a dialog go to its dialog end.
        ("re-INVITE",                  Call,         sent(ADVERTISED, in_dialog("INVITE", "b")),       "out_redirected_dialog",   To(PHONE)),
        ("re-INVITE, no ALG",          Call,         sent(PRIVATE, in_dialog("INVITE", "b")),          "out_redirected_dialog",   To(PHONE)),
        ("BYE to the learned address", Call,         sent(PHONE, in_dialog("BYE", "b")),               "out_already_there",       Unchanged),
        ("BYE of an unknown dialog",   Call,         sent(ADVERTISED, unknown),                        "out_unknown_request",     Unchanged),
        ("BYE with a Route",           Call,         sent(ADVERTISED, routed),                         "out_route",               Unchanged),
        // Requests outside of a dialog go to the contact.
        ("call to the phone",          Registration, sent(ADVERTISED, CALL),                           "out_original_first",      Unchanged),
        ("call, if it has answered",   Proven,       sent(ADVERTISED, CALL),                           "out_redirected_contact",  To(PHONE)),
        ("call, no ALG",               Registration, sent(PRIVATE, CALL),                              "out_redirected_contact",  To(PHONE)),
        ("call by the Contact URI",    Proven,       sent(ADVERTISED, by_uri),                         "out_original_first",      Unchanged),
        ("call to another user",       Registration, sent(ADVERTISED, other_user),                     "out_unknown_request",     Unchanged),
        ("call without registration",  Nothing,      sent(ADVERTISED, CALL),                           "out_unknown_request",     Unchanged),
    ]
}

#[test]
fn cases_of_the_table() {
    for (name, before, packet, verdict, out) in cases() {
        println!("{name}");
        let mut path = Path::new();
        match before {
            Nothing => {}
            Call => path.call(),
            Repeated => {
                path.arrives(&inbound(PHONE, INVITE));
                path.leaves(&outbound(ADVERTISED, &answer(INVITE, "180 Ringing")));
                path.arrives(&inbound(PHONE, INVITE));
            }
            Registration => path.register(),
            Proven => {
                path.register();
                path.prove();
            }
        }
        let Packet {
            is_ingress,
            peer,
            message,
        } = packet;
        match (is_ingress, out) {
            (true, Unchanged) => {
                assert_eq!(path.arrives(&inbound(peer, &message)), verdict, "{name}");
            }
            (true, To(_)) => panic!("{name}: no packet that arrives is redirected"),
            (false, Unchanged) => {
                assert_eq!(path.leaves(&outbound(peer, &message)), verdict, "{name}");
            }
            (false, To(to)) => path.goes_to(&message, peer, to, verdict),
        }
    }
}
