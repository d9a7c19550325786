//! Claims: for effects that must happen once.

use std::time::Duration;

use crate::cache::Cache;
use crate::cache::lock::{Hold, LeaseKind};
use crate::error::Error;
use crate::key::CacheKey;

/// The right to process one item, held until it is confirmed, released, or its lease ends.
///
/// Confirm after the effect. A claim that is dropped without a word keeps its lease: the effect may have happened, so
/// the item is retried only when the lease ends.
#[must_use = "an unconfirmed claim ends with its lease, and the item is processed again"]
#[derive(Debug)]
pub struct Claim {
    hold: Hold,
}

impl Claim {
    /// The effect has happened: nobody claims the item again for `ttl`. Whether the claim had not ended before; if
    /// it had, somebody else may have processed the item meanwhile.
    pub async fn confirm(self, ttl: Duration) -> bool {
        let confirmed = self.hold.extend(ttl).await;
        self.hold.leave_to_its_end();
        confirmed
    }

    /// The effect has not happened, and another may try at once. Whether the claim had not ended before.
    pub async fn release(self) -> bool {
        self.hold.release().await
    }
}

/// What became of an attempt to claim an item; see [`Cache::try_claim`].
#[must_use = "a claim that is not confirmed ends with its lease, and the item is processed again"]
#[derive(Debug)]
pub enum ClaimAttempt {
    /// It is the caller's to process.
    Claimed(Claim),
    /// Somebody has it, or is done with it.
    Refused {
        /// How long that lasts. Longer than a lease: it was confirmed, and nothing is left to do. Otherwise it is under way
        /// elsewhere, and worth another attempt after this time, should that process have died.
        remaining: Duration,
    },
}

impl Cache {
    /// Claims an item: a [`Claim`] for one caller, `None` for all others while it is claimed or confirmed.
    ///
    /// ```
    /// # use cache_core::{Cache, CacheKey, Error, time::{hours, seconds}};
    /// # async fn example(cache: &Cache, candle: &CacheKey) -> Result<(), Error> {
    /// if let Some(claim) = cache.claim(candle, seconds(30)).await? {
    ///     // the effect
    ///     claim.confirm(hours(1)).await;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a zero lease; [`Overloaded`](crate::ErrorKind::Overloaded) if a
    /// million locks and claims are held in memory; [`Unavailable`](crate::ErrorKind::Unavailable) if there is a shared
    /// tier and it does not answer.
    pub async fn claim(&self, key: &CacheKey, lease: Duration) -> Result<Option<Claim>, Error> {
        Ok(match self.try_claim(key, lease).await? {
            ClaimAttempt::Claimed(claim) => Some(claim),
            ClaimAttempt::Refused { .. } => None,
        })
    }

    /// Like [`claim`](Self::claim), and says of an item that is refused for how long: a worker that must lose nothing
    /// comes back to what another had in its hands and never confirmed.
    ///
    /// ```
    /// # use cache_core::{Cache, CacheKey, ClaimAttempt, Error, time::{hours, seconds}};
    /// # async fn example(cache: &Cache, candle: &CacheKey) -> Result<(), Error> {
    /// let lease = seconds(30);
    /// match cache.try_claim(candle, lease).await? {
    ///     ClaimAttempt::Claimed(claim) => {
    ///         // the effect
    ///         claim.confirm(hours(1)).await;
    ///     }
    ///     ClaimAttempt::Refused { remaining } if remaining > lease => {} // done
    ///     ClaimAttempt::Refused { remaining } => {
    ///         // under way elsewhere: offer it again after `remaining`
    /// #       let _ = remaining;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`claim`](Self::claim).
    pub async fn try_claim(&self, key: &CacheKey, lease: Duration) -> Result<ClaimAttempt, Error> {
        let name = self.lease(LeaseKind::Claim, key.text());
        Ok(match self.take_lease(name, "lease", lease).await? {
            Ok(hold) => ClaimAttempt::Claimed(Claim { hold }),
            Err(remaining) => ClaimAttempt::Refused { remaining },
        })
    }
}
