//! Expected results for tests of nat-common, shared by its host tests, the fuzz targets and the test runs in the kernel.
//!
//! [`mod@reference`] and [`stun`] ask independent crates (`rsip`, `stun-types`) for their reading of a message.
//! [`mod@sdp`] asks `sdp-types` for its reading of a session description.
//! [`mod@plain`] reads the forms that `rsip` refuses.
//! [`direction`] derives from a full scan what a scan for one direction must find. [`mod@env`] runs the engine on maps in
//! memory, and [`mod@model`] a network with attackers on those. Nothing here needs a kernel.

pub mod direction;
pub mod effort;
pub mod env;
pub mod model;
pub mod plain;
pub mod reference;
pub mod sdp;
pub mod stun;
pub mod usual;

mod scan;

pub use scan::{part, scan_for};
