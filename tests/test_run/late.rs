//! Messages that come after the terminal has moved.

use crate::frames::{ADVERTISED, INVITE, ack, answer, in_dialog, inbound, outbound};
use crate::run::{Path, endpoint};

/// Source of the phone after its NAT has made a new mapping.
const MOVED: &str = "60.17.196.2:50000";

/// The mapping changes while a request of the PBX is on its way. The phone tells the PBX in a re-INVITE. Then its
/// response to that request comes, for the first time or again. The response proves that the phone was at the old
/// mapping, not that it still is.
#[test]
fn a_response_to_a_request_sent_before_the_move() {
    let mut path = Path::new();
    path.call();
    let request = in_dialog("INVITE", "before");
    path.sends(&outbound(ADVERTISED, &request));
    let reinvite = INVITE
        .replace("<sip:1002@pbx>\r\n", "<sip:1002@pbx>;tag=pbx\r\n")
        .replace("z9hG4bK-phone", "z9hG4bK-moved")
        .replace("1 INVITE", "2 INVITE");
    path.arrives(&inbound(MOVED, &reinvite));
    assert_eq!(
        path.events(MOVED, &answer(&reinvite, "200 OK")),
        ["dialog_moved"]
    );
    // With its ACK the phone shows that it got that at the new mapping.
    path.arrives(&inbound(MOVED, &ack().replace("1 ACK", "2 ACK")));
    path.arrives(&inbound(MOVED, &answer(&request, "200 OK")));
    assert_eq!(path.dialogs()[0].learned, endpoint(MOVED));
    let (_, out, _) = path.sends(&outbound(ADVERTISED, &in_dialog("ACK", "ack")));
    assert_eq!(out, outbound(MOVED, &in_dialog("ACK", "ack")));
}
