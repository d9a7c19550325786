//! The HTTP cache.

pub mod policy;
