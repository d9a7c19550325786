//! The service of the README.
fn main() {}
