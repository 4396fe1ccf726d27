//! Packets whose sum the kernel knows (`CHECKSUM_COMPLETE`), as from some NICs and out of tunnels: the sum must stay right.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya_obj::generated::{bpf_attr, bpf_cmd};
use nat_common::{
    abi::{MEDIA_PORTS, MediaFlags, MediaSlot, SECOND, address, ticks},
    endpoint::Endpoint,
    media::{self, Arrival, Arrived, Binding, Packet},
};
use nat_userspace::{
    checks::preflight::Kernel,
    host::clock,
    kernel::{
        load::{HostAddresses, Programs as _},
        mapped::Access,
    },
};
use nix::{errno::Errno, libc};

use crate::{
    frames::{ADVERTISED, INVITE, PBX, PHONE, PRIVATE, ack, answer, in_dialog, udp},
    packets::{ADVERTISED6, PBX6, PHONE6, PRIVATE6, fragments, long},
    run::{Path, endpoint},
};

/// Has the kernel give a packet its sum, and compare it with the packet's bytes after the program. From linux/bpf.h.
const BPF_F_TEST_SKB_CHECKSUM_COMPLETE: u32 = 1 << 2;

/// A kernel that is known to have it.
const COMPARES: Kernel = Kernel(6, 18);

/// Outcome of the program for what the PBX sends.
#[derive(Debug, PartialEq, Eq)]
enum Sum {
    Right,
    Wrong,
    /// This kernel cannot tell.
    Unknown,
}

impl Path {
    /// The PBX sends a frame whose sum the kernel knows. Returns the frame after it, and its sum.
    fn sends_complete(&mut self, frame: &[u8]) -> (Vec<u8>, Sum) {
        let egress = self.0.egress().expect("egress");
        let program = egress.fd().expect("loaded").as_fd().as_raw_fd();
        let mut out = vec![0; frame.len()];
        // SAFETY: a union of numbers, which may be 0.
        let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let test = unsafe { &mut attributes.test };
        test.prog_fd = program as u32;
        test.data_in = frame.as_ptr() as u64;
        test.data_size_in = frame.len() as u32;
        test.data_out = out.as_mut_ptr() as u64;
        test.data_size_out = out.len() as u32;
        test.flags = BPF_F_TEST_SKB_CHECKSUM_COMPLETE;
        // SAFETY: the addresses are of memory that lives, and that is as long as the attributes say.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_PROG_TEST_RUN as libc::c_long,
                &raw mut attributes,
                size_of::<bpf_attr>(),
            )
        };
        let sum = match Errno::result(result) {
            Ok(_) => Sum::Right,
            Err(Errno::EBADMSG) => Sum::Wrong,
            Err(Errno::EINVAL) => Sum::Unknown,
            Err(error) => panic!("a test run: {error}"),
        };
        (out, sum)
    }

    /// The PBX sends a frame, which becomes another one, with the right sum.
    fn becomes(&mut self, frame: &[u8], wanted: &[u8], what: &str) {
        let (out, sum) = self.sends_complete(frame);
        if sum == Sum::Unknown {
            let kernel = Kernel::running().expect("a version");
            assert!(kernel < COMPARES, "kernel {kernel} refuses");
            println!(
                "skipped: sums of packets, known to be compared on kernel {COMPARES}; this is {kernel}"
            );
            return;
        }
        assert_eq!(sum, Sum::Right, "{what}");
        assert_eq!(out, wanted, "{what}");
    }

    /// The phone calls the PBX, which accepts.
    fn is_called(&mut self, phone: &str, pbx: &str) {
        self.arrives(&udp(phone, pbx, INVITE.as_bytes()));
        self.leaves(&udp(pbx, phone, answer(INVITE, "200 OK").as_bytes()));
        self.arrives(&udp(phone, pbx, ack().as_bytes()));
    }
}

/// Addresses of the PBX and of the phone: learned, advertised, private.
const OF_EACH_VERSION: [[&str; 4]; 2] = [
    [PBX, PHONE, ADVERTISED, PRIVATE],
    [PBX6, PHONE6, ADVERTISED6, PRIVATE6],
];

/// Requests of the PBX to another port, to another address, and to the right one.
#[test]
fn messages() {
    for [pbx, phone, advertised, private] in OF_EACH_VERSION {
        let mut path = Path::new();
        path.is_called(phone, pbx);
        for (meant, branch) in [(advertised, "port"), (private, "address"), (phone, "none")] {
            let info = in_dialog("INFO", branch);
            let [frame, wanted] = [meant, phone].map(|to| udp(pbx, to, info.as_bytes()));
            path.becomes(&frame, &wanted, meant);
        }
    }
}

/// Fragments. Only the first has a UDP header.
#[test]
fn in_fragments() {
    for [pbx, phone, _, private] in OF_EACH_VERSION {
        let mut path = Path::new();
        path.is_called(phone, pbx);
        let info = long(&in_dialog("INFO", "long"));
        let [parts, wanted] =
            [private, phone].map(|to| fragments(&udp(pbx, to, info.as_bytes()), 1500, 1));
        assert!(parts.len() > 2);
        for (part, wanted) in parts.iter().zip(&wanted) {
            path.becomes(part, wanted, private);
        }
    }
}

/// Ports of audio: of the PBX, advertised, and learned.
const AUDIO: [u16; 3] = [20_000, 4000, 50_123];

/// Audio of the PBX.
#[test]
fn audio() {
    let locals = [PBX, PBX6].map(|pbx| Endpoint {
        port: 0,
        ..endpoint(pbx)
    });
    let mut path = Path::with(|setup| {
        setup.settings.media = true;
        setup.settings.sizes.media = 2 * MEDIA_PORTS;
        setup.addresses = HostAddresses {
            on_link: Vec::new(),
            kinds: ["203.0.113.10", "2001:db8::10"]
                .map(|local| (local.parse().expect("an address"), address::LOCAL))
                .into(),
        };
    });
    for (local, [pbx, phone, private]) in locals
        .iter()
        .zip([[PBX, PHONE, PRIVATE], [PBX6, PHONE6, PRIVATE6]])
    {
        learn(&path, local, endpoint(private), endpoint(phone));
        let [from, meant, to] = [(pbx, AUDIO[0]), (private, AUDIO[1]), (phone, AUDIO[2])]
            .map(|(host, port)| format!("{}:{port}", host.rsplit_once(':').expect("a port").0));
        let mut packet = vec![0x80, 0];
        packet.resize(172, 0xd5);
        let [frame, wanted] = [&meant, &to].map(|to| udp(&from, to, &packet));
        path.becomes(&frame, &wanted, &meant);
    }
}

/// Binds the stream of a phone, and has it learn its source.
fn learn(path: &Path, local: &Endpoint, advertised: Endpoint, learned: Endpoint) {
    let [here, advertised_port, learned_port] = AUDIO.map(u32::from);
    let now = clock::now();
    let binding = Binding {
        advertised: Endpoint {
            port: advertised_port,
            ..advertised
        },
        peer: learned.addr,
        flags: MediaFlags::REWRITE,
        now,
        expires: now + 3600 * SECOND,
        ..Binding::default()
    };
    let arrival = Arrival {
        source: Endpoint {
            port: learned_port,
            ..learned
        },
        router: 1,
        packet: Packet::read(172, 0x80, 0),
        tick: ticks(now),
    };
    let mut slot = MediaSlot::default();
    // SAFETY: a slot of this thread's own.
    let arrived = unsafe {
        media::bind(&raw mut slot, &binding);
        media::arrive(&raw mut slot, &arrival)
    };
    assert!(arrived == Arrived::Latched);
    // No call owns it, so none is asked whether it goes on.
    slot.checked = u64::MAX;
    let config = path.0.tables.media_config().expect("settings of media");
    let index = config.number(&local.addr) * MEDIA_PORTS + here;
    let mut slots = path.0.tables.streams(Access::Write).expect("slots");
    slots.store(index, &slot);
}
