//! Behaviour at the public boundary.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

mod harness;
mod redis;
mod tidy;
