//! Copies the eBPF object named by `SIPNAT_BPF_OBJECT` to where `object.rs` embeds it.
//!
//! `cargo xtask build` sets the variable. Without it the crate builds on plain stable Rust, and
//! the agent asks for `--bpf-object`.

use std::{env, fs, path::PathBuf};

const VARIABLE: &str = "SIPNAT_BPF_OBJECT";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_object)");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let Some(object) = env::var_os(VARIABLE).filter(|v| !v.is_empty()) else {
        return;
    };
    let object = PathBuf::from(object);
    println!("cargo::rerun-if-changed={}", object.display());
    let copy =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("sipnat.bpf.o");
    if let Err(error) = fs::copy(&object, &copy) {
        println!("cargo::error={VARIABLE}={}: {error}", object.display());
        return;
    }
    println!("cargo::rustc-cfg=embedded_object");
}
