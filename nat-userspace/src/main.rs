//! The sipnat command.

fn main() {}
