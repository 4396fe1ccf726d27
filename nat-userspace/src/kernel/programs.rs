//! Programs of the loaded object, by name and type.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf,
    programs::{Program, SchedClassifier, Xdp},
};

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("the eBPF object has no program `{name}`"))
}

/// Returns the XDP program of that name.
pub(super) fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    program(ebpf, name)?
        .try_into()
        .map_err(|_| anyhow!("program `{name}` is no XDP program"))
}

/// Returns the TC program of that name.
pub(super) fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier> {
    program(ebpf, name)?
        .try_into()
        .map_err(|_| anyhow!("program `{name}` is no TC classifier"))
}
