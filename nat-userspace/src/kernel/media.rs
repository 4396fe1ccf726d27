//! Programs of media, which those of SIP enter by tail calls, and the settings of media.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
};
use nat_common::{
    abi::{MEDIA_ADDRESSES, MEDIA_PORTS, MediaConfig, address},
    endpoint::Endpoint,
};

use crate::{
    host::prefix::Prefix,
    kernel::{
        loops::Loops,
        programs::{classifier, xdp},
        refusal,
    },
};

/// Lowest and highest port that may have a slot: PBXs take ports for media from 10000 on.
const PORTS: [u16; 2] = [10_000, u16::MAX];

/// Arrays of programs, of XDP and of TC, by their names in the object and as pinned. The kernel empties an array when its
/// last descriptor and pin go.
pub const ARRAYS: [&str; 2] = ["XDP_CALLS", "TC_CALLS"];

/// Has the kernel verify and load the programs of media, and puts them into their arrays.
///
/// # Errors
/// If the kernel refuses; a program refused by the verifier is a [`refusal::Rejected`].
pub(super) fn load(ebpf: &mut Ebpf, loops: Loops) -> Result<()> {
    let [xdp_calls, tc_calls] = ARRAYS;
    for (index, name) in (0..).zip(loops.media_xdp()) {
        let program = xdp(ebpf, name)?;
        program.load().map_err(|e| refusal::of_program(name, e))?;
        let program = program.fd()?.try_clone()?;
        array(ebpf, xdp_calls)?.set(index, &program, 0)?;
    }
    for (index, name) in (0..).zip(loops.media_tc()) {
        let program = classifier(ebpf, name)?;
        program.load().map_err(|e| refusal::of_program(name, e))?;
        let program = program.fd()?.try_clone()?;
        array(ebpf, tc_calls)?.set(index, &program, 0)?;
    }
    Ok(())
}

fn array<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<ProgramArray<&'e mut MapData>> {
    let map = ebpf
        .map_mut(name)
        .with_context(|| format!("the eBPF object has no map `{name}`"))?;
    Ok(ProgramArray::try_from(map)?)
}

/// Returns the settings of media: the host's own unicast addresses have slots, as many as `slots` are enough for.
pub(super) fn config(kinds: &[(Prefix, u32)], slots: u32) -> MediaConfig {
    let most = (slots / MEDIA_PORTS) as usize;
    let own = kinds.iter().filter_map(|(prefix, kind)| {
        let Prefix::Net(net) = prefix else {
            return None;
        };
        let is_own = address::place(*kind) == address::LOCAL;
        let is_host = net.prefix_len() == net.max_prefix_len();
        (is_own && is_host && !net.addr().is_loopback()).then(|| net.addr())
    });
    let mut config = MediaConfig {
        ports: PORTS,
        ..MediaConfig::default()
    };
    let addresses = config.addresses.iter_mut().take(most.min(MEDIA_ADDRESSES));
    for (to, own) in addresses.zip(own) {
        *to = Endpoint::from(SocketAddr::new(own, 0)).addr;
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_have_slots() {
        let kind = |prefix: &str, kind| (prefix.parse::<Prefix>().expect("a prefix"), kind);
        let kinds = [
            kind("127.0.0.1/32", address::LOCAL),
            kind("192.0.2.0/24", address::on_link(2)),
            kind("192.0.2.1/32", address::LOCAL),
            kind("192.0.2.255/32", address::BROADCAST),
            kind("2001:db8::1/128", address::LOCAL),
            kind("198.51.100.0/24", address::LOCAL),
        ];
        let addr =
            |ip: &str| Endpoint::from(SocketAddr::new(ip.parse().expect("an address"), 0)).addr;
        let found = config(&kinds, 4 * MEDIA_PORTS).addresses;
        assert_eq!(found[..3], [addr("192.0.2.1"), addr("2001:db8::1"), [0; 2]]);
        let found = config(&kinds, MEDIA_PORTS).addresses;
        assert_eq!(found[..2], [addr("192.0.2.1"), [0; 2]]);
        assert_eq!(
            config(&kinds, 1).addresses,
            MediaConfig::default().addresses
        );
    }
}
