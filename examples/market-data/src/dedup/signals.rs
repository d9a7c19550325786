//! Signals: published once a day.

use cache_core::{Cache, EntryOptions, Error};

use super::{CandleId, Dedup};

impl Dedup {
    /// Notes that the signal of a candle is published under this id. Whether it was the first: then publish it.
    ///
    /// # Errors
    ///
    /// [`Overloaded`](cache_core::ErrorKind::Overloaded) if there are a million claims; then it is not marked.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, the signal may be marked.
    pub async fn mark_published(&self, candle: &CandleId, signal_id: &str) -> Result<bool, Error> {
        let (key, ttl) = (candle.signal_key(self.config.window)?, self.config.signal_ttl);
        if self.was_published(candle).await? {
            return Ok(false);
        }
        let Some(claim) = self.fleet.claim(&key, ttl).local_fallback().await? else {
            return Ok(false);
        };
        self.guards(&claim, candle, "publish its signal");
        for cache in self.caches() {
            let options = EntryOptions::ttl(ttl).jitter(0.0);
            // Refused by somebody who clears everything just now, the id is gone; the claim stands.
            let _refused = cache.set(&key, signal_id.to_owned(), options).await?;
        }
        Ok(true)
    }

    /// Whether a signal of this candle is published.
    ///
    /// # Errors
    ///
    /// None, unless a name in this file is wrong.
    pub async fn was_published(&self, candle: &CandleId) -> Result<bool, Error> {
        Ok(self.get_signal_id(candle).await?.is_some())
    }

    /// The id under which the signal of this candle is published.
    ///
    /// # Errors
    ///
    /// As for [`was_published`](Self::was_published).
    pub async fn get_signal_id(&self, candle: &CandleId) -> Result<Option<String>, Error> {
        let key = candle.signal_key(self.config.window)?;
        for cache in self.caches() {
            if let Some(id) = cache.get::<String>(&key).await {
                return Ok(Some(id.into_inner()));
            }
        }
        Ok(None)
    }

    fn caches(&self) -> impl Iterator<Item = &Cache> {
        [&self.fleet].into_iter().chain(&self.here)
    }
}
