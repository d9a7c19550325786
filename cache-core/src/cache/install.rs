//! The process-wide cache: what `#[cached]` uses when it is told no other.

use std::sync::OnceLock;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind};

static GLOBAL: OnceLock<Cache> = OnceLock::new();

impl Cache {
    /// Makes `cache` the process-wide default of `#[cached]`. Once, and before its first use.
    ///
    /// # Errors
    ///
    /// [`AlreadyInstalled`](ErrorKind::AlreadyInstalled) if there is a default already, also one that came to be
    /// because it was used before.
    pub fn install(cache: Cache) -> Result<(), Error> {
        GLOBAL.set(cache).map_err(|_| {
            Error::new(
                ErrorKind::AlreadyInstalled,
                "the process-wide cache is set already, or was used before; install it first thing in `main`",
            )
        })
    }

    /// The process-wide cache. If none was installed: one in memory with the toolkit's defaults, which is said once
    /// as a warning.
    pub fn global() -> &'static Cache {
        GLOBAL.get_or_init(|| {
            tracing::warn!(
                "no cache was installed: `#[cached]` uses one in memory; call `Cache::install` in `main`"
            );
            Cache::builder("default")
                .build()
                .expect("the toolkit's own defaults are valid")
        })
    }
}
