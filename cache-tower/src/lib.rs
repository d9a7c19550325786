//! An HTTP cache (RFC 9111) as a tower layer: in front of an axum router, one route, or any HTTP service.
//!
//! ```
//! use axum::{Router, routing::get};
//! use cache_core::Cache;
//! use cache_tower::{CacheLayer, CachePolicy};
//! use std::time::Duration;
//!
//! async fn quote() -> (CachePolicy, &'static str) {
//!     (CachePolicy::new().ttl(Duration::from_secs(5)).tag("quote:GOOG"), "178.12")
//! }
//!
//! # fn main() -> Result<(), cache_core::Error> {
//! let cache = Cache::builder("app").build()?;
//! let app: Router = Router::new()
//!     .route("/quotes/GOOG", get(quote))
//!     .layer(CacheLayer::new(cache.clone()));
//! // later, from anywhere: cache.invalidate_tag("quote:GOOG").await?
//! # let _ = app;
//! # Ok(()) }
//! ```
//!
//! # What it does
//!
//! * It stores what RFC 9111 allows a shared cache to store and the [policy](policy::HttpCachePolicy) agrees to. There
//!   is no TTL that nobody asked for: a response says how long it is fresh, or its handler does ([`CachePolicy`]), or
//!   the route's configuration.
//! * The default profile, [`safe`](policy::HttpCachePolicy::safe), is for applications: what carries `Set-Cookie` is
//!   never stored, and `Cookie` and `Authorization` keep a response to its user unless it says `public`.
//!   [`rfc9111`](policy::HttpCachePolicy::rfc9111) is for proxies.
//! * Concurrent requests for one thing make one request to the inner service. Nobody gets a response before it is proven
//!   that it may be shared.
//! * Bodies stream: the client gets the first byte before the last has arrived, and the store commits at the end or
//!   not at all. A hit copies no body.
//! * HTTP responses live beside functions' values in one [`Cache`](cache_core::Cache): one bound, one tag space.
//!   [`Purge`] reaches responses by URI, path or group.
//!
//! # The way of a request
//!
//! 1. What is not for the cache passes by: a target that cannot be trusted, content in a GET, a method of another kind.
//! 2. A fresh response in this process is the answer, at once and without calling the inner service.
//! 3. Else the stored variants are looked up by the request's fields, and the [`policy`] decides: serve, validate,
//!    forward, or 504.
//! 4. Those who need the same response wait for one of them, whose request goes on when its client leaves; with a shared
//!    tier, on all nodes.
//! 5. A 304 freshens what is stored; a failure may be stood in for by a stale response; what may be stored is stored,
//!    unless it was invalidated since it was asked for.
//! 6. A successful unsafe request invalidates its URI, and those it names.
//!
//! Every response tells what happened in `Cache-Status` (RFC 9211) and in a [`CacheOutcome`] extension.
//!
//! # Several nodes
//!
//! With Redis behind the [`Cache`](cache_core::Cache) the nodes share what they store, variants included, and an
//! invalidation on one counts on all.
//!
//! * Of all nodes that miss together one asks the inner service. It holds a lease, which ends by itself when its process
//!   dies; the others look for what it has stored, for at most [`wait_timeout`](CacheConfig::wait_timeout), and are told when
//!   it cannot be shared.
//! * A response is one value, up to the 8 MiB that the shared tier takes. A larger one, up to
//!   [`body_limit`](CacheConfig::body_limit), stays with the node that got it: bodies are not cut into chunks, since parts
//!   of different ages could not be told from one response.
//! * Bodies are encoded best by `Codec::Postcard`; JSON keeps text readable and doubles everything else.
//! * Storing for others delays nobody, and without Redis each node is a cache by itself: no request fails.
//!
//! # Invalidation
//!
//! Successful unsafe requests do it by themselves (RFC 9111 §4.4), `Cache-Group-Invalidation` (RFC 9875) on their
//! responses does it for groups, and programs do it by tag, or with [`Purge`] by URI, path or group; softly, where a stale
//! response is better than none.
//!
//! # Order of layers
//!
//! ```text
//!   client → tracing → CORS → compression → auth → cache → handlers
//!                                                      └ what runs here is part of what is stored
//! ```
//!
//! * **Authentication outside.** Inside, a hit would skip it. (The default profile keeps requests with `Cookie` or
//!   `Authorization` from being answered by what is not `public`, so that the wrong order fails safe for those.)
//! * **Compression outside.** Inside, each encoding is stored as a variant, which works as long as the layer sends
//!   `Vary: accept-encoding`, and takes the room of several copies.
//! * **CORS outside.** Inside, the field it adds for one `Origin` is stored for all, unless it sends `Vary: origin`.
//! * **Tracing outside**, so that hits are seen too.
//!
//! Inside nested routers the key is the original URI (feature `axum`), so that parts of an application that see the
//! same path never share a response.
//!
//! # What it cannot do
//!
//! Interim (1xx) responses do not pass through tower services; the `reverse-proxy` example shows what a server can do
//! about them. Task-locals of the client's task are not seen by a handler whose request is collapsed: it runs in a task
//! of the cache, in the client's tracing span. A tokio runtime is needed; without one requests pass by.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `axum` | yes | original URIs in nested routers; [`CachePolicy`] as a part of a response |
//! | `metrics` | yes | the counter `cache_http_requests_total`, labels `cache` and `outcome` |
//! | `admin` | no | `admin::router`: statistics, health, lookup, invalidation and a dashboard over HTTP |

#[cfg(feature = "admin")]
pub mod admin;
mod answer;
mod ask;
mod body;
mod collapse;
mod commit;
mod config;
mod exchange;
mod fleet;
mod forward;
mod freshen;
mod future;
mod inner;
mod key;
mod layer;
mod outcome;
pub mod policy;
mod query_content;
mod receive;
mod route;
mod search;
mod service;
mod store;
mod stored;
mod tags;
mod telemetry;
mod transfer;

pub use body::CacheBody;
pub use config::CacheConfig;
pub use future::ResponseFuture;
pub use key::{KeyPolicy, RequestHead};
pub use layer::CacheLayer;
pub use outcome::{CacheOutcome, OutcomeKind};
pub use query_content::QueryContent;
#[cfg(feature = "axum")]
pub use query_content::{QueryContentLayer, QueryContentService};
pub use route::CachePolicy;
pub use service::CacheService;
pub use tags::Purge;

/// The error of a [`CacheBody`]: that of the inner service's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
