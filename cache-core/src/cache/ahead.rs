//! Refresh ahead: a value in use is refreshed on a timer, so that no call ever meets a stale one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::{Cache, CacheValue};
use crate::error::{Error, LoadError};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::{Eager, EntryOptions};
use crate::sync::Arc;
use crate::time::Timestamp;

impl Cache {
    /// A value that is refreshed shortly before it goes stale, for as long as it is used: read it with
    /// [`Ahead::get`]. For the few keys that every request needs; for all others a hit that refreshes
    /// ([`EntryOptions::eager`]) costs nothing while nobody asks.
    ///
    /// One node of the fleet loads, under the key's lease; the others take the new value from the shared tier. When it
    /// was not read for `idle`, refreshing stops, and the next read begins it anew. Each turn is one call in
    /// [`stats`](crate::stats).
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for contradicting options.
    pub fn refresh_ahead<T, E, F, Fut>(
        &self,
        key: CacheKey,
        options: impl Into<EntryOptions>,
        idle: Duration,
        loader: F,
    ) -> Result<Ahead<T, E>, Error>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let options = options.into().eager(Eager::After(DUE));
        let policy = options.or(&self.inner.defaults).resolve()?;
        Ok(Ahead {
            kept: Arc::new(Kept {
                cache: self.clone(),
                key,
                options,
                rest: policy.ttl.mul_f64(1.0 - DUE),
                idle,
                loader: Box::new(move || Box::pin(loader())),
                used: AtomicU64::new(0),
                runs: AtomicBool::new(false),
            }),
        })
    }
}

/// A value that is refreshed ahead of its end; see [`Cache::refresh_ahead`]. Clones share it; when the last one is
/// dropped, refreshing stops.
pub struct Ahead<T, E> {
    kept: Arc<Kept<T, E>>,
}

type Loader<T, E> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, E>> + Send>> + Send + Sync>;

struct Kept<T, E> {
    cache: Cache,
    key: CacheKey,
    options: EntryOptions,
    /// What is left of the TTL when a refresh is due.
    rest: Duration,
    idle: Duration,
    loader: Loader<T, E>,
    /// When it was last read, in nanoseconds.
    used: AtomicU64,
    runs: AtomicBool,
}

impl<T: CacheValue, E: Send + Sync + 'static> Ahead<T, E> {
    /// The value; loaded if need be, as by [`Cache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As for [`Cache::get_or_load`].
    pub async fn get(&self) -> Result<Loaded<T>, LoadError<E>> {
        let kept = &self.kept;
        let now = kept.cache.inner.clock.now();
        kept.used.store(now.as_nanos(), Ordering::Relaxed);
        if !kept.runs.swap(true, Ordering::Relaxed) {
            let running = Running(Arc::downgrade(kept));
            // Refused without a runtime, or while the cache closes: then `running` is dropped, and the next read tries
            // again.
            let closing = kept.cache.inner.tasks.closing();
            let _ = kept.cache.inner.tasks.spawn_apart(async move {
                closing.run_until_cancelled(running.refresh()).await;
            });
        }
        kept.read().await
    }

    /// Whether it is being refreshed: it was read, and less than the idle time ago.
    pub fn is_kept(&self) -> bool {
        self.kept.runs.load(Ordering::Relaxed)
    }
}

impl<T: CacheValue, E: Send + Sync + 'static> Kept<T, E> {
    /// A read starts a refresh if one is due; the engine sees to it that one node does.
    async fn read(self: &Arc<Self>) -> Result<Loaded<T>, LoadError<E>> {
        let kept = self.clone();
        let load = move |_| (kept.loader)();
        self.cache
            .get_or_load(&self.key, self.options.clone(), load)
            .await
    }

    fn is_idle(&self) -> bool {
        let used = Timestamp::from_nanos(self.used.load(Ordering::Relaxed));
        self.cache.inner.clock.now().since(used) >= self.idle
    }

    /// How long to sleep before the next look.
    async fn pause(&self) -> Duration {
        let left = self.cache.remaining_ttl(&self.key).await.unwrap_or_default();
        if left > self.rest {
            left - self.rest
        } else {
            // Due, and on its way, here or on another node.
            (left / 4).max(SHORTEST)
        }
    }
}

/// The task's hold on what it refreshes: weak, so that it ends with the last handle.
struct Running<T, E>(Weak<Kept<T, E>>);

impl<T: CacheValue, E: Send + Sync + 'static> Running<T, E> {
    async fn refresh(&self) {
        loop {
            let pause = match self.0.upgrade() {
                Some(kept) => kept.pause().await,
                None => return,
            };
            tokio::time::sleep(pause).await;
            let Some(kept) = self.0.upgrade() else { return };
            if kept.is_idle() {
                return;
            }
            // A failure is counted and told where it happens; the value in place stays.
            let _ = kept.read().await;
        }
    }
}

impl<T, E> Drop for Running<T, E> {
    fn drop(&mut self) {
        if let Some(kept) = self.0.upgrade() {
            kept.runs.store(false, Ordering::Relaxed);
        }
    }
}

impl<T, E> Clone for Ahead<T, E> {
    fn clone(&self) -> Self {
        Self {
            kept: self.kept.clone(),
        }
    }
}

impl<T, E> fmt::Debug for Ahead<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("key", &self.kept.key)
            .finish_non_exhaustive()
    }
}

/// The share of the TTL after which a refresh is due: early enough for a load of a fifth of it.
const DUE: f64 = 0.8;
/// Between looks at a value that is about to be replaced.
const SHORTEST: Duration = Duration::from_millis(10);
