//! A lease that is held, in this process or in the shared tier.
//!
//! Where the caller chose [`Reach::FallBack`], it is taken in both: first here, then there. Without an answer from there
//! it is held here alone, and among the callers of this node that made the same choice it still belongs to one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::far::{Far, Holding, Unheard};
use crate::cache::leases::{LeaseKind, LeaseName};
use crate::error::Error;
use crate::shared::{AcquireRequest, Acquisition, Fault, Token};
use crate::sync::Arc;
use crate::time::Timestamp;

/// How far a lease, or an update, has to reach if there is a shared tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Reach {
    /// All nodes, or it fails.
    #[default]
    Fleet,
    /// All nodes, or while the shared tier is away this one.
    FallBack,
}

/// A lease that is held. Given back when it is dropped, if it is to be.
#[derive(Debug)]
pub(crate) struct Hold {
    cache: Cache,
    name: LeaseName,
    /// At least one of the two.
    here: Option<u64>,
    far: Option<FarHold>,
    /// Whether the shared tier has confirmed what is known about the end.
    is_shared: AtomicBool,
    /// When it ends as far as this holder knows, in nanoseconds; 0 once it is known to be lost.
    until: AtomicU64,
}

#[derive(Debug)]
struct FarHold {
    far: Arc<Far>,
    token: Token,
    fencing: u64,
}

impl Hold {
    pub(crate) fn fencing(&self) -> u64 {
        let far = self.far.as_ref().map(|held| held.fencing);
        far.or(self.here).unwrap_or(0)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Whether everybody knows of it who could take it: the shared tier, if there is one.
    pub(crate) fn reaches_all(&self) -> bool {
        self.is_shared() || !self.cache.is_shared()
    }

    pub(crate) fn is_held(&self) -> bool {
        let now = self.cache.inner.clock.now();
        let held_here = match (&self.far, self.here) {
            (None, Some(token)) => self.cache.inner.leases.holds(&self.name, token, now),
            _ => true,
        };
        held_here && now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    /// Holds it for `ttl` from now; whether it was still held.
    pub(crate) async fn extend(&self, ttl: Duration) -> bool {
        let now = self.cache.inner.clock.now();
        let here = |token| self.cache.inner.leases.extend(&self.name, token, now, now + ttl);
        let extended = match &self.far {
            None => self.here.is_some_and(here),
            Some(FarHold { far, token, .. }) => {
                let name = self.cache.lease_text(&self.name);
                match far
                    .port()
                    .extend(self.name.1.shared(), &name, *token, ttl, far.budget())
                    .await
                {
                    Ok(extended) => {
                        self.is_shared.store(extended, Ordering::Relaxed);
                        match self.here {
                            Some(token) if extended => _ = here(token),
                            _ => _ = self.release_here(),
                        }
                        extended
                    }
                    Err(fault) => {
                        self.cache.degraded("extend", &fault);
                        self.is_shared.store(false, Ordering::Relaxed);
                        // Unknown: what was known about the end still holds, unless it may be held here alone.
                        if !self.here.is_some_and(here) {
                            return false;
                        }
                        true
                    }
                }
            }
        };
        let until = if extended { (now + ttl).as_nanos() } else { 0 };
        self.until.store(until, Ordering::Relaxed);
        extended
    }

    /// Gives it back; whether it was still held.
    pub(crate) async fn release(&self) -> bool {
        let was_held = self.until.swap(0, Ordering::Relaxed) > 0;
        let Some(FarHold { far, token, .. }) = &self.far else {
            return self.release_here();
        };
        if !was_held {
            self.release_here();
            return false;
        }
        let name = self.cache.lease_text(&self.name);
        let unanswered = self.cache.give_back_unheard(far, self.holding(), *token);
        let released = far
            .port()
            .give_back(self.name.1.shared(), &name, *token, far.budget())
            .await;
        // Here afterwards: who waits here asks there next.
        self.release_here();
        match released {
            Ok(released) => {
                unanswered.disarm();
                released
            }
            // Not answered is not given back: told again in the background.
            Err(fault) => {
                self.cache.degraded("release", &fault);
                false
            }
        }
    }

    /// Gives it back without waiting for it: the lease ends by itself where nothing can be sent.
    pub(crate) fn release_in_background(&self) {
        if self.until.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(FarHold { far, token, .. }) = &self.far {
            self.cache.give_back(far.clone(), self.holding(), *token);
        }
        self.release_here();
    }

    fn release_here(&self) -> bool {
        let now = self.cache.inner.clock.now();
        self.here
            .is_some_and(|token| self.cache.inner.leases.release(&self.name, token, now))
    }

    fn holding(&self) -> Holding {
        Holding::Named(self.name.1.shared(), self.cache.lease_text(&self.name))
    }

    /// Lets the lease run to its end.
    pub(crate) fn leave_to_its_end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

impl Cache {
    pub(crate) fn lease(&self, kind: LeaseKind, name: &str) -> LeaseName {
        (self.namespace.id, kind, name.into())
    }

    /// The lease's name in the shared tier, where braces mean something.
    pub(crate) fn lease_text(&self, name: &LeaseName) -> String {
        let plain = name.2.replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
        format!("{}:{plain}", self.namespace.text)
    }

    /// The lease, or how long its holder has it yet.
    pub(crate) async fn take_lease(
        &self,
        name: LeaseName,
        field: &str,
        ttl: Duration,
        reach: Reach,
    ) -> Result<Result<Hold, Duration>, Error> {
        if ttl.is_zero() {
            return Err(Error::invalid(format!(
                "`{field}` is zero; a lease needs some time"
            )));
        }
        let now = self.inner.clock.now();
        let here = || self.take_lease_here(&name, now, ttl);
        let (here, far) = match (self.far().cloned(), reach) {
            (None, _) => match here()? {
                Ok(token) => (Some(token), None),
                Err(remaining) => return Ok(Err(remaining)),
            },
            (Some(far), Reach::Fleet) => {
                let far = self.take_lease_far(far, &name, ttl).await;
                match far.map_err(|fault| self.unavailable("acquire", &fault))? {
                    Ok(far) => (None, Some(far)),
                    Err(remaining) => return Ok(Err(remaining)),
                }
            }
            (Some(far), Reach::FallBack) => {
                // A table that is full takes nothing away from what the fleet can say.
                let here = match here() {
                    Ok(Err(remaining)) => return Ok(Err(remaining)),
                    Ok(Ok(token)) => Ok(token),
                    Err(full) => Err(full),
                };
                let unsettled = Unheard::run(|| {
                    if let Ok(token) = here {
                        self.inner.leases.release(&name, token, self.inner.clock.now());
                    }
                });
                let far = match self.take_lease_far(far, &name, ttl).await {
                    Ok(Err(remaining)) => {
                        if let Ok(token) = here
                            && name.1 == LeaseKind::Claim
                            && remaining > ttl
                        {
                            // Done by another: remembered here as well, for when the shared tier is away.
                            let now = self.inner.clock.now();
                            self.inner.leases.extend(&name, token, now, now + remaining);
                            unsettled.disarm();
                        }
                        return Ok(Err(remaining));
                    }
                    Ok(Ok(far)) => Some(far),
                    Err(fault) => {
                        self.degraded("acquire", &fault);
                        None
                    }
                };
                unsettled.disarm();
                match (here, &far) {
                    (Ok(token), _) => (Some(token), far),
                    (Err(_), Some(_)) => (None, far),
                    (Err(full), None) => return Err(full),
                }
            }
        };
        Ok(Ok(Hold {
            cache: self.clone(),
            name,
            here,
            is_shared: AtomicBool::new(far.is_some()),
            far,
            until: AtomicU64::new((now + ttl).as_nanos()),
        }))
    }

    fn take_lease_here(
        &self,
        name: &LeaseName,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Result<u64, Duration>, Error> {
        let leases = &self.inner.leases;
        let token = leases.acquire(name, now, now + ttl)?;
        let remaining = || {
            leases
                .until(name, now)
                .map_or(Duration::ZERO, |(_, until)| until.since(now))
        };
        Ok(token.ok_or_else(remaining))
    }

    async fn take_lease_far(
        &self,
        far: Arc<Far>,
        name: &LeaseName,
        ttl: Duration,
    ) -> Result<Result<FarHold, Duration>, Fault> {
        let token = Token::random();
        let text = self.lease_text(name);
        let request = AcquireRequest {
            kind: name.1.shared(),
            name: &text,
            token,
            ttl,
        };
        // A caller that leaves meanwhile, or hears no answer, holds nothing.
        let holding = Holding::Named(request.kind, text.clone());
        let unanswered = self.give_back_unheard(&far, holding, token);
        let answer = far.port().acquire(request, far.budget()).await;
        unanswered.hear(&answer);
        Ok(match answer? {
            Acquisition::Acquired { fencing } => Ok(FarHold { far, token, fencing }),
            Acquisition::Held { remaining } => Err(remaining),
        })
    }
}
