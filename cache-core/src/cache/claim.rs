//! Claims: for effects that must happen once.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::hold::{Hold, Reach};
use crate::cache::leases::LeaseKind;
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

    /// Whether the shared tier knows of the claim: not if there is none, nor if the claim is a
    /// [local fallback](Claiming::local_fallback).
    pub fn is_shared(&self) -> bool {
        self.hold.is_shared()
    }
}

/// A claim that is made when this is awaited.
///
/// # Cancellation
///
/// Dropped before it is done, it holds nothing.
#[must_use = "a claim is made when it is awaited"]
#[derive(Debug)]
pub struct Claiming<'a> {
    cache: &'a Cache,
    key: &'a CacheKey,
    lease: Duration,
    reach: Reach,
}

impl Claiming<'_> {
    /// Goes on without the shared tier while that is away: among the callers of this node that chose the same, one gets
    /// the claim. **Other nodes are not excluded**, so an item may be processed once per node during an outage; this
    /// node does not repeat what it claimed before the outage, or during it. For effects that are better done twice
    /// than not at all.
    ///
    /// The price is a record in this process of every claim that is made this way, until it ends.
    pub fn local_fallback(mut self) -> Self {
        self.reach = Reach::FallBack;
        self
    }
}

impl<'a> IntoFuture for Claiming<'a> {
    type Output = Result<Option<Claim>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let name = self.cache.lease(LeaseKind::Claim, self.key.text());
            let hold = self.cache.take_lease(name, "lease", self.lease, self.reach);
            Ok(hold.await?.map(|hold| Claim { hold }))
        })
    }
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
    /// tier and it does not answer, unless [`local_fallback`](Claiming::local_fallback) was chosen.
    pub fn claim<'a>(&'a self, key: &'a CacheKey, lease: Duration) -> Claiming<'a> {
        Claiming {
            cache: self,
            key,
            lease,
            reach: Reach::Fleet,
        }
    }
}
