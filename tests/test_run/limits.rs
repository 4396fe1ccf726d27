//! Limits of the verifier and of the programs.

use std::mem::offset_of;

use nat_common::abi::{Set, map};
use nat_test_support::loops::{HAS_MAY_GOTO, REASON, TAKES_MAY_GOTO, refused};
use nat_userspace::checks::preflight::Kernel;
use nat_userspace::kernel::load::{Loader, Programs};
use nat_userspace::kernel::loops::Loops;
use nat_userspace::kernel::object;
use nat_userspace::settings::Settings;

use crate::frames::{ADVERTISED, INVITE, PHONE, in_dialog, inbound, outbound};
use crate::run::{NO_OBJECT, Path, loops};

#[test]
fn verified_instructions() {
    for loops in loops() {
        verified_with(*loops);
    }
}

/// The loader asks the kernel which loop it takes.
#[test]
fn the_faster_loop_is_taken() {
    let kernel = Kernel::running().expect("a version");
    if kernel >= TAKES_MAY_GOTO {
        assert_eq!(loops()[0], Loops::MayGoto);
    } else if kernel < HAS_MAY_GOTO {
        assert_eq!(loops()[0], Loops::BpfLoop);
    } else {
        println!("{kernel} takes {}", loops()[0].name());
    }
}

/// The first lines of a set share a cache line only if the set begins with one.
#[test]
fn sets_begin_with_a_cache_line() {
    /// `BPF_F_MMAPABLE` of linux/bpf.h: the values of such an array begin at a page.
    const MMAPABLE: u32 = 1 << 10;
    const LINE: usize = 64;
    let path = Path::new();
    let tables = path.0.tables.maps();
    for name in [
        map::INBOUND,
        map::OUTBOUND,
        map::PENDING,
        map::PEERS,
        map::FRAGMENTS,
        map::STUN,
        map::BUCKETS,
        map::STUN_TOTAL,
    ] {
        let table = tables.iter().find(|table| table.name == name);
        let info = table.expect("a table").map.info().expect("map info");
        assert_ne!(info.map_flags() & MMAPABLE, 0, "{name}");
        assert_eq!(info.value_size() as usize % LINE, 0, "{name}");
    }
    assert_eq!(offset_of!(Set, values), LINE);
}

/// Most instructions that the verifier may take for a program: far below its own limit, because another kernel needs more.
const LIMIT: u32 = 150_000;

fn verified_with(loops: Loops) {
    let mut path = Path::with(|setup| setup.loops = loops);
    for (name, info) in [
        ("ingress", path.0.ingress().expect("ingress").info()),
        ("egress", path.0.egress().expect("egress").info()),
    ] {
        let info = info.expect("program info");
        let verified = info
            .verified_instruction_count()
            .expect("a kernel of 5.16 or later");
        println!(
            "{name} by {}: {verified} instructions verified, {} bytes JITed",
            loops.name(),
            info.size_jitted()
        );
        assert!(verified < LIMIT, "{name} by {}: {verified}", loops.name());
    }
}

/// A kernel that has `may_goto` and refuses the programs with it gets the others, and the reason is known.
#[test]
fn the_reason_for_the_slower_loops_is_known() {
    let object = object::read(None).expect(NO_OBJECT);
    let object = refused(&object).expect("an object of sipnat");
    let settings = Settings::default();
    let path = Loader::new(&object, &settings).load().expect("a data path");
    assert_eq!(path.loops, Loops::BpfLoop);
    if Kernel::running().expect("a version") < HAS_MAY_GOTO {
        assert_eq!(path.refused, None);
    } else {
        let why = path.refused.expect("a reason");
        assert!(
            why.contains("program `ingress`") && why.contains(REASON),
            "{why}"
        );
    }
}

/// The programs of media have bounds of their own.
#[test]
fn verified_instructions_of_media() {
    for loops in loops() {
        let mut path = Path::with(|setup| {
            setup.loops = *loops;
            setup.settings.media = true;
        });
        let programs = path.0.media_programs().expect("programs of media");
        assert_eq!(programs.len(), 4);
        for (name, info) in programs {
            let verified = info.verified_instruction_count().expect("as above");
            println!(
                "{name} by {}: {verified} instructions verified",
                loops.name()
            );
            assert!(verified < LIMIT, "{name} by {}: {verified}", loops.name());
        }
    }
}

/// Long headers are read to their end. Those that take more steps than a device's are left alone.
#[test]
fn long_messages() {
    let mut path = Path::new();
    path.call();
    let via = "Via: SIP/2.0/UDP proxy.example.com:5060;received=192.0.2.1;branch=z9hG4bK-1\r\n";
    let record_route = "Record-Route: <sip:192.0.2.1:5060;lr;ftag=1928301774>\r\n";
    for (name, filler, costly) in [
        ("a long header", format!("X: {}", "x".repeat(2500)), false),
        (
            "many lines",
            "X-Header: 1234567890123456\r\n".repeat(90) + "X: x",
            false,
        ),
        ("many Vias", via.repeat(40) + "X: x", false),
        (
            "many Record-Routes",
            record_route.repeat(40) + "X: x",
            false,
        ),
        (
            "many Vias in a line",
            format!("Via: SIP/2.0/UDP x{}", ", SIP/2.0/UDP y".repeat(40)),
            false,
        ),
        ("empty headers", "X:\r\n".repeat(600) + "X: x", true),
        (
            "many parameters of a second Via",
            format!("Via: SIP/2.0/UDP x{}", ";".repeat(2500)),
            false,
        ),
        (
            "Record-Routes in a line",
            format!("Record-Route: <a>{}", ",<b>".repeat(600)),
            true,
        ),
        (
            "a folded header",
            format!("X: x{}", "\r\n x".repeat(600)),
            true,
        ),
        (
            "a long display name",
            format!("Contact: \"{}\" <sip:x>", "\\\"".repeat(1200)),
            true,
        ),
    ] {
        let verdict = |read, left| if costly { left } else { read };
        let bye = in_dialog("BYE", &name.replace(' ', "-"))
            .replace("Content-Length", &format!("{filler}\r\nContent-Length"));
        // The PBX's Contact is not needed.
        let (_, _, found) = path.sends(&outbound(ADVERTISED, &bye));
        let skipped = filler.starts_with("Contact");
        if !(costly && skipped) {
            assert_eq!(
                found,
                verdict("out_redirected_dialog", "out_doubt_costly"),
                "{name}"
            );
        }
        let invite = INVITE.replace("Content-Length", &format!("{filler}\r\nContent-Length"));
        let invite = invite.replace(
            "z9hG4bK-phone",
            &format!("z9hG4bK-{}", name.replace(' ', "")),
        );
        assert_eq!(
            path.arrives(&inbound(PHONE, &invite)),
            verdict("in_request", "in_doubt_costly"),
            "{name}"
        );
    }
}
