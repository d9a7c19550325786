//! The HTTP cache.

mod answer;
mod body;
mod collapse;
mod config;
mod exchange;
mod future;
mod key;
mod layer;
mod outcome;
pub mod policy;
mod receive;
mod route;
mod service;
mod store;
mod stored;
mod tags;
mod transfer;

pub use body::CacheBody;
pub use config::CacheConfig;
pub use future::ResponseFuture;
pub use key::{KeyPolicy, RequestHead};
pub use layer::CacheLayer;
pub use outcome::{CacheOutcome, OutcomeKind};
pub use route::CachePolicy;
pub use service::CacheService;
pub use tags::Purge;

/// The error of a [`CacheBody`]: that of the inner service's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
