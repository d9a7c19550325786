//! Behaviour at the public boundary.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

mod aboard;
mod admin;
mod batch;
mod cached_fn;
mod cancellation;
mod coherence;
mod dashboard;
mod documents;
mod eager;
mod engine;
mod fleet;
mod harness;
mod http;
mod invalidation;
mod leases;
mod lifecycle;
mod macro_ui;
mod operations;
mod redis;
mod stale;
mod stampede;
mod statistics;
mod test_kit;
mod tidy;
mod tiers;
mod warming;
