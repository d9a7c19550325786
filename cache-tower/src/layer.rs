//! [`CacheLayer`]: puts an HTTP cache in front of services.

use std::sync::Arc;

use cache_core::{Cache, Error};
use tower_layer::Layer;

use crate::collapse::Flights;
use crate::config::CacheConfig;
use crate::exchange::HttpCache;
use crate::key::Keys;
use crate::service::CacheService;
use crate::store::Store;
use crate::telemetry::Telemetry;

/// An HTTP cache (RFC 9111) in front of a service; see the [crate docs](crate).
///
/// All services of one layer and its clones share what they store and the requests in flight.
#[derive(Clone, Debug)]
pub struct CacheLayer {
    cache: Arc<HttpCache>,
}

impl CacheLayer {
    /// A layer with the defaults: [`CacheConfig::default`].
    pub fn new(cache: Cache) -> Self {
        Self::with_config(cache, CacheConfig::default()).expect("the defaults are a valid configuration")
    }

    /// A layer with this configuration.
    ///
    /// # Errors
    ///
    /// [`Invalid`](cache_core::ErrorKind::Invalid), naming the field and the remedy.
    pub fn with_config(cache: Cache, config: CacheConfig) -> Result<Self, Error> {
        config.check()?;
        // Stored responses remember what they last told clients, the cache's name included.
        let apart = (&config.status_name, config.status_shows_key);
        let keys = Keys::new(&config.prefix, &config.policy, apart)?;
        Ok(Self {
            cache: Arc::new(HttpCache {
                telemetry: Telemetry::new(&cache),
                store: Store::new(cache, config, keys),
                flights: Arc::new(Flights::default()),
            }),
        })
    }

    /// How many requests to the inner service are in flight that others may share.
    pub fn requests_in_flight(&self) -> usize {
        self.cache.flights.len()
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.cache.clone())
    }
}
