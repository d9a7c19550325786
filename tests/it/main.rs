//! Behaviour at the public boundary.

mod harness;
