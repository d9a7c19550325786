//! Named, time-bound ownership: the table behind locks and claims, and the lock itself.
//!
//! A lease belongs to whoever holds its token and ends by itself, so a holder that dies blocks nobody for longer than
//! the lease. Leases are kept apart from cached entries: they are never evicted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::cache::Cache;
use crate::cache::far::{Far, Holding, Wakeup};
use crate::error::{Error, ErrorKind};
use crate::shared::{AcquireRequest, Acquisition, LockKind, Token};
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;

/// What a lease is for; locks and claims of one name do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeaseKind {
    Lock,
    Claim,
}

impl LeaseKind {
    fn shared(self) -> LockKind {
        match self {
            Self::Lock => LockKind::Lock,
            Self::Claim => LockKind::Claim,
        }
    }
}

/// Which lease: by namespace, purpose and name.
pub(crate) type LeaseName = (u32, LeaseKind, Box<str>);

/// The leases of one cache.
#[derive(Debug)]
pub(crate) struct Leases {
    table: Mutex<Table>,
    released: Arc<Notify>,
}

#[derive(Debug)]
struct Table {
    leases: HashMap<LeaseName, Lease>,
    /// Grows with every lease given: a fencing token.
    issued: u64,
    sweep_at: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    token: u64,
    until: Timestamp,
}

impl Leases {
    /// At most so many leases at once.
    pub(crate) fn new(limit: usize) -> Self {
        let table = Table {
            leases: HashMap::new(),
            issued: 0,
            sweep_at: MIN_SWEEP,
            limit,
        };
        Self {
            table: Mutex::new(table),
            released: Arc::default(),
        }
    }

    /// Takes the lease if nobody holds it; its token.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the table is full of leases that are all held.
    pub(crate) fn acquire(
        &self,
        name: &LeaseName,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<u64>, Error> {
        let mut table = lock(&self.table);
        if table.leases.get(name).is_some_and(|lease| now < lease.until) {
            return Ok(None);
        }
        table.make_room(now)?;
        table.issued += 1;
        let token = table.issued;
        table.leases.insert(name.clone(), Lease { token, until });
        Ok(Some(token))
    }

    /// Moves the end of a lease that `token` still holds; whether it did.
    pub(crate) fn extend(&self, name: &LeaseName, token: u64, now: Timestamp, until: Timestamp) -> bool {
        let mut table = lock(&self.table);
        let held = table
            .leases
            .get_mut(name)
            .filter(|lease| lease.token == token && now < lease.until);
        held.map(|lease| lease.until = until).is_some()
    }

    /// Gives a lease back that `token` still holds; whether it did.
    pub(crate) fn release(&self, name: &LeaseName, token: u64, now: Timestamp) -> bool {
        let mut table = lock(&self.table);
        let held = table
            .leases
            .get(name)
            .is_some_and(|lease| lease.token == token && now < lease.until);
        if held {
            table.leases.remove(name);
        }
        drop(table);
        if held {
            self.released.notify_waiters();
        }
        held
    }

    /// Whether `token` holds the lease.
    pub(crate) fn holds(&self, name: &LeaseName, token: u64, now: Timestamp) -> bool {
        self.until(name, now).is_some_and(|(holder, _)| holder == token)
    }

    /// Who holds the lease, and until when.
    pub(crate) fn until(&self, name: &LeaseName, now: Timestamp) -> Option<(u64, Timestamp)> {
        let table = lock(&self.table);
        table
            .leases
            .get(name)
            .filter(|lease| now < lease.until)
            .map(|lease| (lease.token, lease.until))
    }
}

impl Table {
    /// Sweeps ended leases away whenever the table has doubled: constant work per lease.
    fn make_room(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.leases.len() >= self.sweep_at {
            self.leases.retain(|_, lease| now < lease.until);
            self.sweep_at = (self.leases.len() * 2).max(MIN_SWEEP).min(self.limit);
        }
        if self.leases.len() >= self.limit {
            return Err(Error::new(
                ErrorKind::Overloaded,
                format!("{} locks and claims are held; shorten their leases", self.limit),
            ));
        }
        Ok(())
    }
}

const MIN_SWEEP: usize = 1_024;
/// About 100 MB of names and leases: more than that is a leak, and is said instead of fed.
pub(crate) const MAX_LEASES: usize = 1_000_000;

/// A lease that is held, in this process or in the shared tier. Given back when it is dropped, if it is to be.
#[derive(Debug)]
pub(crate) struct Hold {
    cache: Cache,
    name: LeaseName,
    place: Place,
    /// When it ends as far as this holder knows, in nanoseconds; 0 once it is known to be lost.
    until: AtomicU64,
}

#[derive(Debug)]
enum Place {
    Here(u64),
    Far {
        far: Arc<Far>,
        token: Token,
        fencing: u64,
    },
}

impl Hold {
    pub(crate) fn fencing(&self) -> u64 {
        match &self.place {
            Place::Here(token) => *token,
            Place::Far { fencing, .. } => *fencing,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        let now = self.cache.inner.clock.now();
        let held_here = match &self.place {
            Place::Here(token) => self.cache.inner.leases.holds(&self.name, *token, now),
            Place::Far { .. } => true,
        };
        held_here && now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    /// Holds it for `ttl` from now; whether it was still held.
    pub(crate) async fn extend(&self, ttl: Duration) -> bool {
        let now = self.cache.inner.clock.now();
        let extended = match &self.place {
            Place::Here(token) => self.cache.inner.leases.extend(&self.name, *token, now, now + ttl),
            Place::Far { far, token, .. } => {
                let name = self.cache.lease_text(&self.name);
                match far
                    .port()
                    .extend(self.name.1.shared(), &name, *token, ttl, far.budget())
                    .await
                {
                    Ok(extended) => extended,
                    // Unknown: what was known about the end still holds.
                    Err(fault) => {
                        self.cache.degraded("extend", &fault);
                        return false;
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
        match &self.place {
            Place::Here(token) => {
                self.cache
                    .inner
                    .leases
                    .release(&self.name, *token, self.cache.inner.clock.now())
            }
            Place::Far { far, token, .. } if was_held => {
                let name = self.cache.lease_text(&self.name);
                let unanswered = self.cache.give_back_unheard(far, self.holding(), *token);
                let released = far
                    .port()
                    .give_back(self.name.1.shared(), &name, *token, far.budget())
                    .await;
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
            Place::Far { .. } => false,
        }
    }

    /// Gives it back without waiting for it: the lease ends by itself where nothing can be sent.
    pub(crate) fn release_in_background(&self) {
        if self.until.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        match &self.place {
            Place::Here(token) => {
                self.cache
                    .inner
                    .leases
                    .release(&self.name, *token, self.cache.inner.clock.now());
            }
            Place::Far { far, token, .. } => {
                self.cache.give_back(far.clone(), self.holding(), *token);
            }
        }
    }

    fn holding(&self) -> Holding {
        Holding::Named(self.name.1.shared(), self.cache.lease_text(&self.name))
    }

    /// Lets the lease run to its end.
    pub(crate) fn leave_to_its_end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

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
    pub fn fencing_token(&self) -> u64 {
        self.hold.fencing()
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

impl Cache {
    /// Takes the lock of this name for at most `ttl`, if nobody holds it: on this node, or with a shared tier, in the
    /// fleet.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a zero `ttl`; [`Overloaded`](ErrorKind::Overloaded) if a million locks and
    /// claims are held in memory; [`Unavailable`](ErrorKind::Unavailable) if there is a shared tier and it does not
    /// answer: a lock that only this node knows would be none.
    pub async fn try_lock(&self, name: &str, ttl: Duration) -> Result<Option<LockGuard>, Error> {
        let hold = self
            .take_lease(self.lease(LeaseKind::Lock, name), "ttl", ttl)
            .await?;
        Ok(hold.ok().map(|hold| LockGuard { hold }))
    }

    /// Takes the lock of this name for at most `ttl`, waiting up to `wait` while others hold it. Without a tokio runtime
    /// it cannot wait and tries once.
    ///
    /// # Errors
    ///
    /// [`Contended`](ErrorKind::Contended) if it is held all that time; otherwise as for [`try_lock`](Self::try_lock).
    ///
    /// # Cancellation
    ///
    /// Dropped while waiting, it holds nothing.
    pub async fn lock(&self, name: &str, ttl: Duration, wait: Duration) -> Result<LockGuard, Error> {
        let contended = || {
            Error::new(
                ErrorKind::Contended,
                format!("the lock `{name}` was held for all of {wait:?}"),
            )
        };
        if Handle::try_current().is_err() {
            return self.try_lock(name, ttl).await?.ok_or_else(contended);
        }
        let acquire = async {
            let mut wakeup = Wakeup::new();
            loop {
                let released = self.inner.leases.released.notified();
                tokio::pin!(released);
                // Enabled before the try, so that no release between the two is missed.
                released.as_mut().enable();
                if let Some(guard) = self.try_lock(name, ttl).await? {
                    return Ok(guard);
                }
                if let Some(far) = self.far() {
                    let text = self.lease_text(&self.lease(LeaseKind::Lock, name));
                    wakeup.next(far, &text, ttl).await;
                    continue;
                }
                tokio::select! {
                    () = released => {}
                    () = tokio::time::sleep(self.lease_end(name)) => {}
                }
            }
        };
        match tokio::time::timeout(wait, acquire).await {
            Ok(guard) => guard,
            Err(_) => Err(contended()),
        }
    }

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
    ) -> Result<Result<Hold, Duration>, Error> {
        if ttl.is_zero() {
            return Err(Error::invalid(format!(
                "`{field}` is zero; a lease needs some time"
            )));
        }
        let now = self.inner.clock.now();
        let place = match self.far().cloned() {
            None => self.take_lease_here(&name, now, ttl)?,
            Some(far) => self.take_lease_far(far, &name, ttl).await?,
        };
        let until = AtomicU64::new((now + ttl).as_nanos());
        Ok(place.map(|place| Hold {
            cache: self.clone(),
            name,
            place,
            until,
        }))
    }

    fn take_lease_here(
        &self,
        name: &LeaseName,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Result<Place, Duration>, Error> {
        let leases = &self.inner.leases;
        let token = leases.acquire(name, now, now + ttl)?;
        let remaining = || {
            leases
                .until(name, now)
                .map_or(Duration::ZERO, |(_, until)| until.since(now))
        };
        Ok(token.map(Place::Here).ok_or_else(remaining))
    }

    async fn take_lease_far(
        &self,
        far: Arc<Far>,
        name: &LeaseName,
        ttl: Duration,
    ) -> Result<Result<Place, Duration>, Error> {
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
        match answer {
            Ok(Acquisition::Acquired { fencing }) => Ok(Ok(Place::Far { far, token, fencing })),
            Ok(Acquisition::Held { remaining }) => Ok(Err(remaining)),
            Err(fault) => Err(self.unavailable("acquire", &fault)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> LeaseName {
        (0, LeaseKind::Claim, format!("{n}").into())
    }

    #[test]
    fn ended_leases_make_room_and_held_ones_are_kept() {
        let leases = Leases::new(MAX_LEASES);
        let end = Timestamp::from_nanos(10);
        for n in 0..100_000 {
            leases.acquire(&name(n), Timestamp::ZERO, end).unwrap().unwrap();
        }
        assert_eq!(leases.acquire(&name(7), Timestamp::ZERO, end).unwrap(), None);
        for n in 0..200_000 {
            let now = Timestamp::from_nanos(10 + n as u64);
            leases
                .acquire(&name(1_000_000 + n), now, now + Duration::from_nanos(1))
                .unwrap()
                .unwrap();
        }
        assert!(
            lock(&leases.table).leases.len() <= 200_001,
            "the table kept what had ended"
        );
    }

    #[test]
    fn a_table_that_was_full_of_ended_leases_takes_new_ones() {
        const LIMIT: usize = 3 * MIN_SWEEP;
        let leases = Leases::new(LIMIT);
        let end = Timestamp::from_nanos(10);
        let acquire = |n, now, until| leases.acquire(&name(n), now, until);
        for n in 0..LIMIT {
            acquire(n, Timestamp::ZERO, end).unwrap().unwrap();
        }
        let full = acquire(LIMIT, Timestamp::ZERO, end).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Overloaded);
        assert!(acquire(LIMIT, end, Timestamp::MAX).unwrap().is_some());
    }

    #[test]
    fn only_the_holder_of_the_token_extends_and_releases() {
        let leases = Leases::new(MAX_LEASES);
        let (now, end) = (Timestamp::ZERO, Timestamp::from_nanos(10));
        let first = leases.acquire(&name(1), now, end).unwrap().unwrap();
        assert!(!leases.release(&name(1), first + 1, now));
        assert!(leases.extend(&name(1), first, now, Timestamp::from_nanos(20)));
        let later = Timestamp::from_nanos(25);
        let second = leases
            .acquire(&name(1), later, Timestamp::from_nanos(40))
            .unwrap()
            .unwrap();
        assert!(second > first, "fencing tokens grow");
        assert!(
            !leases.release(&name(1), first, later),
            "the late holder frees nothing"
        );
        assert!(leases.holds(&name(1), second, later));
    }
}
