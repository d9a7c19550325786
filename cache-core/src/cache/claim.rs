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
    /// The effect has happened: nobody claims the item again for `ttl`. How far that reaches is the answer.
    pub async fn confirm(self, ttl: Duration) -> Confirmation {
        let kept = self.hold.extend(ttl).await;
        self.hold.leave_to_its_end();
        match kept {
            true if self.hold.reaches_all() => Confirmation::Kept,
            true => Confirmation::KeptHere,
            false => Confirmation::Ended,
        }
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

/// How far a confirmed claim reaches; see [`Claim::confirm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Nobody claims the item again: no node of the fleet, or without a shared tier nobody in this process.
    Kept,
    /// This node does not claim the item again, and the shared tier did not hear of it: another node may, once the
    /// lease has ended. Only for a [local fallback](Claiming::local_fallback).
    KeptHere,
    /// The claim had ended before, or without a local fallback the shared tier did not answer: somebody else may have
    /// processed the item meanwhile, or may do so when the lease ends.
    Ended,
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

/// A claim that is made when this is awaited.
///
/// # Cancellation
///
/// Dropped before it is done, it holds nothing.
#[must_use = "a claim is made when this is awaited"]
#[derive(Debug)]
pub struct Claiming<'a> {
    attempt: TryClaiming<'a>,
}

impl Claiming<'_> {
    /// Goes on without the shared tier while that is away: among the callers of this node that chose the same, one gets
    /// the claim. **Other nodes are not excluded**, so an item may be processed once per node during an outage; this
    /// node does not repeat what it claimed before the outage, or during it, nor what it was told is done. For effects
    /// that are better done twice than not at all.
    ///
    /// The price is a record in this process of every claim that is made, or refused as done, this way, until it ends.
    pub fn local_fallback(self) -> Self {
        Self {
            attempt: self.attempt.local_fallback(),
        }
    }
}

impl<'a> IntoFuture for Claiming<'a> {
    type Output = Result<Option<Claim>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            Ok(match self.attempt.run().await? {
                ClaimAttempt::Claimed(claim) => Some(claim),
                ClaimAttempt::Refused { .. } => None,
            })
        })
    }
}

/// A [`Claiming`] that says of an item that is refused for how long.
///
/// # Cancellation
///
/// Dropped before it is done, it holds nothing.
#[must_use = "a claim is made when this is awaited"]
#[derive(Debug)]
pub struct TryClaiming<'a> {
    cache: &'a Cache,
    key: &'a CacheKey,
    lease: Duration,
    reach: Reach,
}

impl TryClaiming<'_> {
    /// Goes on without the shared tier while that is away: see [`Claiming::local_fallback`].
    pub fn local_fallback(mut self) -> Self {
        self.reach = Reach::FallBack;
        self
    }

    async fn run(self) -> Result<ClaimAttempt, Error> {
        let name = self.cache.lease(LeaseKind::Claim, self.key.text());
        let taken = self.cache.take_lease(name, "lease", self.lease, self.reach);
        Ok(match taken.await? {
            Ok(hold) => ClaimAttempt::Claimed(Claim { hold }),
            Err(remaining) => ClaimAttempt::Refused { remaining },
        })
    }
}

impl<'a> IntoFuture for TryClaiming<'a> {
    type Output = Result<ClaimAttempt, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
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
            attempt: self.try_claim(key, lease),
        }
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
    pub fn try_claim<'a>(&'a self, key: &'a CacheKey, lease: Duration) -> TryClaiming<'a> {
        TryClaiming {
            cache: self,
            key,
            lease,
            reach: Reach::Fleet,
        }
    }
}
