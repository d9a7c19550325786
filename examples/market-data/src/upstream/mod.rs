//! What lies behind the caches: an exchange that is slow and fails now and then, and a model that costs a second a call.
//!
//! Both are one HTTP server ([`exchange`]), a task of this process or a process of its own, which counts what it is asked.
//! The service knows them only through [`Client`].

mod answers;
mod client;
pub mod exchange;

pub use client::Client;
pub use exchange::{Asked, Behaviour, Exchange};

use std::fmt;

/// Why upstream gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// There is no such thing.
    Unknown(String),
    /// It was asked several times and did not answer, or not what was asked for.
    Unavailable(String),
    /// The cache in front of it gave up: the call took too long, or broke.
    Cache(String),
}

impl From<cache_core::Error> for UpstreamError {
    fn from(error: cache_core::Error) -> Self {
        Self::Cache(error.to_string())
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "there is no {what}"),
            Self::Unavailable(why) => write!(f, "the exchange did not answer: {why}"),
            Self::Cache(why) => write!(f, "the answer was not waited for: {why}"),
        }
    }
}

impl std::error::Error for UpstreamError {}
