//! What `HISTORY` keeps in a flood.

use nat_common::abi::{Counter, Record};
use nat_userspace::kernel::history;

use crate::frames::{ADVERTISED, INVITE, REGISTER, STRANGER, answer, in_dialog, inbound, outbound};
use crate::run::Path;

impl Path {
    /// Returns the records, the oldest first.
    fn records(&self) -> Vec<Record> {
        history::read(&self.0.tables.history).expect("records")
    }
}

/// Whether a message led to an event.
fn has(record: &Record, event: Counter) -> bool {
    record.events & event.event_bit() != 0
}

/// Strangers send what the PBX refuses, and OPTIONS that it answers. The story of a call and of a registration stay whole.
#[test]
fn junk_does_not_push_out_what_belongs_to_bindings() {
    let mut path = Path::new();
    path.register();
    let registered = path.records().pop().expect("a record of the 200");
    path.call();
    let accepted = path.records().pop().expect("a record of the 200");
    assert!(
        has(&registered, Counter::ContactActivated),
        "{registered:?}"
    );
    assert!(has(&accepted, Counter::DialogActivated), "{accepted:?}");
    let flood = |path: &mut Path, round: u32| {
        for n in 0..300 {
            let of = |text: &str, kind: &str| {
                text.replace("call@", &format!("{kind}-{round}-{n}@"))
                    .replace(
                        "Call-ID: registration",
                        &format!("Call-ID: {kind}-{round}-{n}"),
                    )
                    .replace("z9hG4bK", &format!("z9hG4bK-{kind}-{round}-{n}"))
            };
            let options = INVITE
                .replace("INVITE", "OPTIONS")
                .replace("To: <sip:1002@pbx>", &format!("To: <sip:1002@pbx>;tag={n}"));
            for (kind, request, status) in [
                ("invite", INVITE, "401 Unauthorized"),
                ("options", &*options, "200 OK"),
                ("register", REGISTER, "401 Unauthorized"),
            ] {
                let request = of(request, kind);
                path.arrives(&inbound(STRANGER, &request));
                path.leaves(&outbound(STRANGER, &answer(&request, status)));
            }
        }
    };
    flood(&mut path, 1);
    let info = in_dialog("INFO", "after");
    let (_, _, verdict) = path.sends(&outbound(ADVERTISED, &info));
    assert_eq!(verdict, "out_redirected_dialog");
    flood(&mut path, 2);
    let records = path.records();
    assert!(records.is_sorted_by_key(|record| record.at));
    let of_call: Vec<_> = records.iter().filter(|r| r.call == accepted.call).collect();
    assert_eq!(of_call.len(), 2, "{of_call:?}");
    assert_eq!(*of_call[0], accepted);
    assert!(records.contains(&registered));
    // Of the junk, the newest are there.
    let junk = records.iter().filter(|record| record.bound == 0).count();
    assert_eq!(junk, path.0.tables.history.len() as usize / 2);
}
