//! The lock: a lease by name, with a guard that knows when it is lost.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::cache::far::Wakeup;
use crate::cache::hold::{Hold, Reach};
use crate::cache::leases::LeaseKind;
use crate::error::{Error, ErrorKind};

/// A held lock. Released by [`release`](Self::release) or on drop, and lost when its time ends.
///
/// It makes double work unlikely, not impossible: a holder that sleeps beyond its time shares the world with the next
/// one. What must not happen twice compares [`fencing_token`](Self::fencing_token) where it takes effect.
#[must_use = "a lock that is dropped is released"]
#[derive(Debug)]
pub struct LockGuard {
    hold: Hold,
}

impl LockGuard {
    /// Whether the lock is still this guard's, as far as can be known without asking: its time has not ended, and no
    /// renewal was refused.
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// A number that is larger for every later holder.
    ///
    /// The number of a [local fallback](TryLocking::local_fallback) grows on its node only, and is smaller than any that
    /// the shared tier gave out: who compares numbers refuses its holder.
    pub fn fencing_token(&self) -> u64 {
        self.hold.fencing()
    }

    /// Whether the shared tier has confirmed the lock, at the last time that it was asked: not if there is none, nor
    /// if the lock is a [local fallback](TryLocking::local_fallback).
    pub fn is_shared(&self) -> bool {
        self.hold.is_shared()
    }

    /// Holds the lock for `ttl` from now; whether it was still this guard's.
    pub async fn renew(&self, ttl: Duration) -> bool {
        self.hold.extend(ttl).await
    }

    /// Gives the lock back; whether it was still this guard's.
    pub async fn release(self) -> bool {
        self.hold.release().await
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.hold.release_in_background();
    }
}

/// A try at a lock, made when this is awaited.
///
/// # Cancellation
///
/// Dropped before it is done, it holds nothing.
#[must_use = "a lock is tried when this is awaited"]
#[derive(Debug)]
pub struct TryLocking<'a> {
    cache: &'a Cache,
    name: &'a str,
    ttl: Duration,
    reach: Reach,
}

impl TryLocking<'_> {
    /// Goes on without the shared tier while that is away: among the callers of this node that chose the same, the lock
    /// belongs to one. **Other nodes are not excluded.** The guard says which it is by
    /// [`is_shared`](LockGuard::is_shared); once the shared tier is back, a guard that it does not know is refused its
    /// next renewal if it was shared before, and otherwise ends on this node as it began.
    pub fn local_fallback(mut self) -> Self {
        self.reach = Reach::FallBack;
        self
    }

    async fn attempt(&self) -> Result<Option<LockGuard>, Error> {
        let name = self.cache.lease(LeaseKind::Lock, self.name);
        let hold = self.cache.take_lease(name, "ttl", self.ttl, self.reach);
        Ok(hold.await?.ok().map(|hold| LockGuard { hold }))
    }
}

impl<'a> IntoFuture for TryLocking<'a> {
    type Output = Result<Option<LockGuard>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.attempt().await })
    }
}

/// A wait for a lock, begun when this is awaited.
///
/// # Cancellation
///
/// Dropped while waiting, it holds nothing.
#[must_use = "a lock is waited for when this is awaited"]
#[derive(Debug)]
pub struct Locking<'a> {
    attempt: TryLocking<'a>,
    wait: Duration,
}

impl Locking<'_> {
    /// Goes on without the shared tier while that is away: see [`TryLocking::local_fallback`].
    pub fn local_fallback(self) -> Self {
        Self {
            attempt: self.attempt.local_fallback(),
            ..self
        }
    }

    async fn obtain(&self) -> Result<LockGuard, Error> {
        let Self { attempt, wait } = self;
        let contended = || {
            Error::new(
                ErrorKind::Contended,
                format!("the lock `{}` was held for all of {wait:?}", attempt.name),
            )
        };
        if Handle::try_current().is_err() {
            return attempt.attempt().await?.ok_or_else(contended);
        }
        match tokio::time::timeout(*wait, self.wait()).await {
            Ok(guard) => guard,
            Err(_) => Err(contended()),
        }
    }

    async fn wait(&self) -> Result<LockGuard, Error> {
        let TryLocking { cache, name, ttl, .. } = self.attempt;
        let mut wakeup = Wakeup::new();
        loop {
            let released = cache.inner.leases.released.notified();
            tokio::pin!(released);
            // Enabled before the try, so that no release between the two is missed.
            released.as_mut().enable();
            if let Some(guard) = self.attempt.attempt().await? {
                return Ok(guard);
            }
            let elsewhere = async {
                match cache.far() {
                    Some(far) => {
                        let text = cache.lease_text(&cache.lease(LeaseKind::Lock, name));
                        wakeup.next(far, &text, ttl).await;
                    }
                    None => tokio::time::sleep(cache.lease_end(name)).await,
                }
            };
            tokio::select! {
                () = released => {}
                () = elsewhere => {}
            }
        }
    }
}

impl<'a> IntoFuture for Locking<'a> {
    type Output = Result<LockGuard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.obtain().await })
    }
}

impl Cache {
    /// Takes the lock of this name for at most `ttl`, if nobody holds it: on this node, or with a shared tier, in the
    /// fleet.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a zero `ttl`; [`Overloaded`](ErrorKind::Overloaded) if a million locks and
    /// claims are held in memory; [`Unavailable`](ErrorKind::Unavailable) if there is a shared tier and it does not
    /// answer: a lock that only this node knows would be none, unless that is what you
    /// [choose](TryLocking::local_fallback).
    pub fn try_lock<'a>(&'a self, name: &'a str, ttl: Duration) -> TryLocking<'a> {
        TryLocking {
            cache: self,
            name,
            ttl,
            reach: Reach::Fleet,
        }
    }

    /// Takes the lock of this name for at most `ttl`, waiting up to `wait` while others hold it. Without a tokio runtime
    /// it cannot wait and tries once.
    ///
    /// # Errors
    ///
    /// [`Contended`](ErrorKind::Contended) if it is held all that time; otherwise as for [`try_lock`](Self::try_lock).
    pub fn lock<'a>(&'a self, name: &'a str, ttl: Duration, wait: Duration) -> Locking<'a> {
        Locking {
            attempt: self.try_lock(name, ttl),
            wait,
        }
    }

    /// When to look again for a lock whose holder may never release it: at its end, and now and then before.
    fn lease_end(&self, name: &str) -> Duration {
        let now = self.inner.clock.now();
        let end = self.inner.leases.until(&self.lease(LeaseKind::Lock, name), now);
        end.map_or(LOOK_AGAIN, |(_, until)| until.since(now))
            .clamp(Duration::from_millis(1), LOOK_AGAIN)
    }
}

/// The cache's clock and the runtime's timer may run apart, as they do in tests.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
