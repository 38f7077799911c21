//! The `burrow` executable.
fn main() {}
