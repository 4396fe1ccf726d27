//! Floors of each crate, as data for the check `floors`.
//!
//! A floor is one line of names, and the top floor is the first. A name is the first part of a module's path below the
//! crate: `engine` stands for `engine.rs` and for all files in `engine/`. A module may use the floors below its own.
//! On one floor, one module may use another without a circle. `lib.rs` stands above all floors.
//!
//! To add a module, write its name on the lowest floor that is above all it uses. A name without a file does no harm.

/// A crate whose modules have an order.
pub(super) struct Crate {
    /// Folders that may hold its sources; the first that has files counts.
    pub(super) folders: &'static [&'static str],
    /// Name of its library in paths.
    pub(super) name: &'static str,
    /// Floors, top first; without any, only circles are errors.
    pub(super) floors: &'static [&'static [&'static str]],
}

/// Crates with an order.
#[rustfmt::skip]
pub(super) const CRATES: &[Crate] = &[
    Crate {
        folders: &["nat-common/src"],
        name: "nat_common",
        floors: &[
            &["engine"],
            &["media"],
            &["tables"],
            &["sip", "sdp", "stun", "datagram"],
            &["abi"],
            &["bytes", "endpoint", "bpf"],
        ],
    },
    Crate {
        folders: &["nat-ebpf/src"],
        name: "nat_ebpf",
        floors: &[
            &["main"],
            &["ingress", "egress", "media"],
            &["stages", "keepalive"],
            &["env", "redirect", "answer"],
            &["bindings"],
            &["maps", "scratch", "text"],
            &["clock", "frame", "datagram", "fast_reject", "repeat"],
        ],
    },
    Crate {
        folders: &["nat-userspace/src"],
        name: "nat_userspace",
        floors: &[
            &["main"],
            &["cli"],
            &["commands"],
            &["replay"],
            &["agent"],
            &["checks"],
            &["view"],
            &["kernel"],
            &["host"],
            &["settings", "config"],
            &["nearest"],
        ],
    },
    Crate {
        folders: &["tests/oracle/src"],
        name: "nat_test_oracle",
        floors: &[],
    },
    Crate {
        folders: &["tests/support/src"],
        name: "nat_test_support",
        floors: &[],
    },
];
