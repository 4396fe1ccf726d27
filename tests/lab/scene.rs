//! Frame of every test.

pub(crate) use nat_test_support::{scenario, scene::*};
