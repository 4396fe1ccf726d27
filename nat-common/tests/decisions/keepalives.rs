//! Keepalives of the agent: which messages are its OPTIONS, and which are answers to them.

use nat_common::engine::keepalive::{MAGIC, Ping, answered, is_ping};
use nat_common::sip::Direction;

use crate::{Network, from_pbx};

#[test]
fn a_ping_and_its_answer_are_known_by_their_branch() {
    let (cookie, other) = (Ping::digits(7), Ping::digits(8));
    let ping = Ping {
        index: 3,
        nonce: Ping::digits(9),
    };
    let named = |cookie| -> &'static str {
        let branch = ping.branch(cookie);
        let text = str::from_utf8(&branch[MAGIC.len()..]).expect("a branch");
        text.to_owned().leak()
    };
    for (method, branch, is_one, is_known) in [
        ("OPTIONS", named(cookie), true, true),
        ("INVITE", named(cookie), false, true),
        ("OPTIONS", named(other), false, false),
        ("OPTIONS", "another", false, false),
    ] {
        let net = Network::new();
        let m = from_pbx(method, 1, branch);
        let request = net.scan(&m, Direction::Out);
        let text = m.text();
        assert_eq!(is_ping(&request, text.as_bytes(), cookie), is_one);
        // A request answers nothing, and a response asks nothing.
        assert_eq!(answered(&request, text.as_bytes(), cookie), None);
        let m = m.answer(200);
        let response = net.scan(&m, Direction::In);
        let text = m.text();
        assert!(!is_ping(&response, text.as_bytes(), cookie));
        let found = answered(&response, text.as_bytes(), cookie);
        assert_eq!(found, is_known.then_some(ping), "{method} {branch}");
    }
}
