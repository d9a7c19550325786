//! The admin router (feature `admin`): what a cache is doing, and the few things an operator has to do to it, over HTTP
//! and as a dashboard in the browser.
//!
//! ```
//! use axum::Router;
//! use cache_core::Cache;
//! use cache_tower::admin::{self, AdminConfig};
//!
//! # fn main() -> Result<(), cache_core::Error> {
//! # let token = "a long random text, from a file or the environment";
//! let cache = Cache::builder("shop").build()?;
//! let app: Router = Router::new()
//!     .nest("/admin/cache", admin::router(AdminConfig::bearer(token)?).with(cache));
//! # let _ = app;
//! # Ok(()) }
//! ```
//!
//! # What it holds to
//!
//! * There is no router without an [`Authenticator`]; an open one has a name that says so
//!   ([`AdminConfig::insecure_open_to_everyone`]). Every route answers 401 without credentials, the dashboard included:
//!   its sign-in form is the body of that answer, and holds no data.
//! * What a caller may do is a set of [`Scopes`]: read, write, clear, and see values. Values are shown of types that
//!   were [registered](AdminConfig::reveal) only.
//! * `GET` changes nothing. What changes something needs JSON and a header field that no form and no foreign page can
//!   send; requests that a browser calls cross-site are refused. There are no cookies.
//! * Bodies have at most 16 KiB, arrive within 5 seconds, and nest at most 16 deep. After ten wrong tokens in a minute an
//!   address waits; everything can be cleared once a second.
//! * Nothing that is answered may be stored, framed, or guessed at: `no-store`, `DENY`, `nosniff`, and a policy that
//!   permits no script but the page's own.
//! * What is done, and what is refused, is told to `tracing` with the target `cache_admin`, without tokens.
//!
//! The routes are in `docs/admin.md`, and as OpenAPI 3.1 at `openapi.json`.

mod act;
mod auth;
mod body;
mod config;
mod guard;
mod limit;
mod names;
mod openapi;
mod page;
mod problem;
mod prometheus;
mod read;
mod routes;
mod stream;

use std::sync::{Arc, Once};

use axum::Router;
use cache_core::Cache;
use cache_core::warm::WarmerStatus;

pub use auth::{Authenticator, Bearer, Grant, Scopes};
pub use config::AdminConfig;

use limit::{Attempts, Pace};
use problem::Problem;

/// Begins an admin router; [`AdminRouter::with`] gives it its caches.
pub fn router(config: AdminConfig) -> AdminRouter {
    AdminRouter { config }
}

/// An admin router without its caches.
#[derive(Debug)]
#[must_use = "it becomes a router by `with`"]
pub struct AdminRouter {
    config: AdminConfig,
}

impl AdminRouter {
    /// The router over these caches: one, or several with names of their own.
    pub fn with<S>(self, caches: impl Into<Caches>) -> Router<S> {
        let admin = Admin {
            caches: caches.into().0,
            attempts: Attempts::default(),
            clearing: Pace::default(),
            streams: Arc::new(tokio::sync::Semaphore::new(MAX_STREAMS)),
            strangers: Once::new(),
            config: self.config,
        };
        routes::router(Arc::new(admin))
    }
}

/// The caches of an admin router.
#[derive(Clone, Debug)]
pub struct Caches(Vec<Cache>);

impl From<Cache> for Caches {
    fn from(cache: Cache) -> Self {
        Self(vec![cache])
    }
}

impl From<&Cache> for Caches {
    fn from(cache: &Cache) -> Self {
        Self(vec![cache.clone()])
    }
}

impl From<Vec<Cache>> for Caches {
    fn from(caches: Vec<Cache>) -> Self {
        Self(caches)
    }
}

impl<const N: usize> From<[Cache; N]> for Caches {
    fn from(caches: [Cache; N]) -> Self {
        Self(caches.into())
    }
}

/// What all routes share.
#[derive(Debug)]
struct Admin {
    config: AdminConfig,
    caches: Vec<Cache>,
    attempts: Attempts,
    clearing: Pace,
    streams: Arc<tokio::sync::Semaphore>,
    /// Whether it was told that addresses are not known.
    strangers: Once,
}

impl Admin {
    fn warmers(&self) -> Vec<WarmerStatus> {
        let warmers = self.caches.iter().flat_map(Cache::warmers);
        warmers.map(|warmer| warmer.status()).collect()
    }

    fn cache(&self, name: &str) -> Result<&Cache, Problem> {
        self.caches
            .iter()
            .find(|cache| cache.name() == name)
            .ok_or_else(|| Problem::not_found("unknown_cache", "no cache of this name is served here"))
    }
}

/// Open dashboards; each costs a reading of all counters per second.
const MAX_STREAMS: usize = 32;
