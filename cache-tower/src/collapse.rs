//! Request collapsing: concurrent requests for one thing make one request to the origin.
//!
//! The first becomes the leader; the others wait for news of its response, for a bounded time and in a bounded number.
//! They share it only once it is proven that they may: it is stored, matches their fields and answers them as it would
//! from the store. If it turns out not to be shareable, they go to the origin themselves, all at once, and the target is
//! remembered for a while, so that the next ones do not wait in vain (hit-for-miss).
//!
//! A flight whose target was invalidated since it began gets no new waiters: they begin another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::StorePermit;
use cache_core::key::CacheKey;
use cache_core::tag::TagSet;
use cache_core::time::Timestamp;
use http::StatusCode;
use tokio::sync::watch;

use crate::fleet::Lease;
use crate::policy::{OriginFailure, StoredHead};
use crate::transfer::Transfer;

/// The requests in flight of one layer, and the targets that are not worth waiting for.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    flights: HashMap<CacheKey, Arc<Flight>>,
    /// Until when.
    unshareable: HashMap<CacheKey, Timestamp>,
    /// What could not be validated in the background.
    failing: HashMap<CacheKey, Pause>,
}

/// How long a validation that nobody waits for is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Timestamp,
    length: Duration,
}

#[derive(Debug)]
struct Flight {
    permit: StorePermit,
    tags: TagSet,
    news: watch::Sender<News>,
    waiters: AtomicUsize,
}

/// What is known about a flight's response.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// Nothing yet.
    Pending,
    /// It may be shared by those whom it answers.
    Arrived(Arc<Arrival>),
    /// It may not be shared.
    Refused,
    /// The origin failed.
    Failed(OriginFailure),
}

/// A response that can be shared; its body may still be arriving.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) head: StoredHead,
    pub(crate) transfer: Arc<Transfer>,
    /// What the origin answered: 304 where it confirmed what is stored.
    pub(crate) status: StatusCode,
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) enum Role {
    Leader(Leader),
    Waiter(Waiter),
    /// Go to the origin without the others.
    Alone(Alone),
}

/// Why a request goes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alone {
    /// The last response could not be shared.
    Unshareable,
    /// As many wait as may wait.
    TooManyWaiters,
    /// It waited for as long as it may.
    WaitTimedOut,
    /// What it waited for was not for it, or came to nothing.
    NotShared,
}

impl Alone {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unshareable => "unshareable",
            Self::TooManyWaiters => "too-many-waiters",
            Self::WaitTimedOut => "wait-timed-out",
            Self::NotShared => "not-shared",
        }
    }
}

impl Flights {
    /// Joins the flight of `key`, or begins it. `tags` are what its response will carry in any case.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &CacheKey,
        permit: &StorePermit,
        tags: &TagSet,
        max_waiters: usize,
        now: Timestamp,
    ) -> Role {
        let mut table = self.table();
        if table.unshareable.get(key).is_some_and(|until| now < *until) {
            return Role::Alone(Alone::Unshareable);
        }
        if let Some(flight) = table.flights.get(key)
            && flight.permit.is_current(&flight.tags)
        {
            return flight.clone().wait(max_waiters);
        }
        let flight = Arc::new(Flight {
            permit: permit.clone(),
            tags: tags.clone(),
            news: watch::channel(News::Pending).0,
            waiters: AtomicUsize::new(0),
        });
        table.flights.insert(key.clone(), flight.clone());
        Role::Leader(Leader {
            flights: self.clone(),
            key: key.clone(),
            flight,
            lease: None,
        })
    }

    /// How many flights there are.
    pub(crate) fn len(&self) -> usize {
        self.table().flights.len()
    }

    /// A response to this target could be shared after all.
    pub(crate) fn is_shareable(&self, key: &CacheKey) {
        self.table().unshareable.remove(key);
    }

    fn remember_unshareable(&self, key: &CacheKey, until: Timestamp, now: Timestamp) {
        let unshareable = &mut self.table().unshareable;
        // Forgetting one costs its next requests a wait, nothing else.
        make_room(unshareable, |until| now < *until);
        unshareable.insert(key.clone(), until);
    }

    /// Whether a validation in the background failed so recently that the next one is to wait.
    pub(crate) fn is_paused(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.table()
            .failing
            .get(key)
            .is_some_and(|pause| now < pause.until)
    }

    /// A validation in the background failed: the next one waits, each time twice as long.
    pub(crate) fn pause(&self, key: &CacheKey, now: Timestamp) {
        let failing = &mut self.table().failing;
        make_room(failing, |pause| now < pause.until + LONGEST_PAUSE);
        let length = failing
            .get(key)
            .map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(LONGEST_PAUSE));
        let until = now + length;
        failing.insert(key.clone(), Pause { until, length });
    }

    /// A validation succeeded.
    pub(crate) fn resume(&self, key: &CacheKey) {
        self.table().failing.remove(key);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics with the lock held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn wait(self: Arc<Self>, max_waiters: usize) -> Role {
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= max_waiters {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Role::Alone(Alone::TooManyWaiters);
        }
        Role::Waiter(Waiter {
            news: self.news.subscribe(),
            flight: self,
        })
    }
}

/// The request that goes to the origin for all. Dropping it ends the flight: who still waits goes alone.
#[derive(Debug)]
pub(crate) struct Leader {
    flights: Arc<Flights>,
    key: CacheKey,
    flight: Arc<Flight>,
    /// Given back after everything else is done.
    lease: Option<Lease>,
}

impl Leader {
    /// Leads for the other nodes too.
    pub(crate) fn hold(&mut self, lease: Option<Lease>) {
        self.lease = lease;
    }

    /// The lease, for who has something to do before it is given back.
    pub(crate) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// The response may be shared. New requests join it until the leader is dropped.
    pub(crate) fn share(&self, arrival: Arc<Arrival>) {
        self.flights.is_shareable(&self.key);
        self.flight.news.send_replace(News::Arrived(arrival));
    }

    /// The response may not be shared, and neither will the next ones for a while.
    pub(crate) fn refuse(self, now: Timestamp, duration: Duration) {
        self.flights.remember_unshareable(&self.key, now + duration, now);
        self.flight.news.send_replace(News::Refused);
    }

    /// The origin failed.
    pub(crate) fn fail(self, failure: OriginFailure) {
        self.flight.news.send_replace(News::Failed(failure));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut table = self.flights.table();
        if table
            .flights
            .get(&self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            table.flights.remove(&self.key);
        }
        drop(table);
        self.flight.news.send_if_modified(|news| {
            let is_pending = matches!(news, News::Pending);
            if is_pending {
                *news = News::Refused;
            }
            is_pending
        });
    }
}

/// A request that waits for the leader's response.
#[derive(Debug)]
pub(crate) struct Waiter {
    flight: Arc<Flight>,
    news: watch::Receiver<News>,
}

impl Waiter {
    /// The first news, if they come in time.
    pub(crate) async fn news(mut self, limit: Duration) -> Option<News> {
        let news = self.news.wait_for(|news| !matches!(news, News::Pending));
        match tokio::time::timeout(limit, news).await {
            Ok(Ok(news)) => Some(news.clone()),
            // The leader says something before it goes, so the channel is not closed before.
            Ok(Err(_)) => Some(News::Refused),
            Err(_) => None,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Forgets what has ended when there is too much, and everything when that is not enough.
fn make_room<T>(remembered: &mut HashMap<CacheKey, T>, holds: impl Fn(&T) -> bool) {
    if remembered.len() >= REMEMBERED_LIMIT {
        remembered.retain(|_, what| holds(what));
    }
    if remembered.len() >= REMEMBERED_LIMIT {
        remembered.clear();
    }
}

/// How many targets are remembered of each kind: a few hundred kilobytes.
const REMEMBERED_LIMIT: usize = 4_096;

/// Long enough for a failing origin not to notice, short enough for a stale response not to stay for long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use cache_core::Cache;
    use cache_core::time::{Clock, SystemClock};

    use super::*;

    struct Setting {
        cache: Cache,
        flights: Arc<Flights>,
        key: CacheKey,
        tags: TagSet,
    }

    impl Setting {
        fn new() -> Self {
            Self {
                cache: Cache::builder("c").build().unwrap(),
                flights: Arc::default(),
                key: CacheKey::build("k", 1).unwrap(),
                tags: TagSet::new(["t"]).unwrap(),
            }
        }

        fn join(&self) -> Role {
            let now = SystemClock.now();
            self.flights
                .join(&self.key, &self.cache.store_permit(), &self.tags, 2, now)
        }

        #[track_caller]
        fn lead(&self) -> Leader {
            match self.join() {
                Role::Leader(leader) => leader,
                other => panic!("{other:?}"),
            }
        }

        #[track_caller]
        fn wait(&self) -> Waiter {
            match self.join() {
                Role::Waiter(waiter) => waiter,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_unshareable_response_sends_all_away_and_is_remembered() {
        let setting = Setting::new();
        let leader = setting.lead();
        let (one, two) = (setting.wait(), setting.wait());
        assert!(matches!(setting.join(), Role::Alone(Alone::TooManyWaiters)));
        leader.refuse(SystemClock.now(), Duration::from_secs(60));
        for waiter in [one, two] {
            assert!(matches!(
                waiter.news(Duration::from_secs(9)).await,
                Some(News::Refused)
            ));
        }
        assert!(matches!(setting.join(), Role::Alone(Alone::Unshareable)));
        setting.flights.is_shareable(&setting.key);
        assert!(matches!(setting.join(), Role::Leader(_)));
    }

    #[tokio::test]
    async fn a_leader_that_vanishes_leaves_nobody_waiting_and_nothing_behind() {
        let setting = Setting::new();
        let leader = setting.lead();
        let waiter = setting.wait();
        drop(leader);
        assert!(matches!(
            waiter.news(Duration::from_secs(9)).await,
            Some(News::Refused)
        ));
        assert_eq!(setting.flights.len(), 0);
        drop(setting.lead());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded_and_frees_its_place() {
        let setting = Setting::new();
        let _leader = setting.lead();
        let (one, two) = (setting.wait(), setting.wait());
        assert!(one.news(Duration::from_secs(5)).await.is_none());
        drop(two);
        drop((setting.wait(), setting.wait()));
    }

    #[tokio::test]
    async fn after_an_invalidation_nobody_joins_the_old_flight() {
        let setting = Setting::new();
        let old = setting.lead();
        setting.cache.invalidate_tag("t").await.unwrap();
        let new = setting.lead();
        drop(old);
        drop(setting.wait());
        drop(new);
        assert_eq!(setting.flights.len(), 0);
    }

    #[test]
    fn validations_that_fail_wait_twice_as_long_each_time_until_one_succeeds() {
        let Setting { flights, key, .. } = Setting::new();
        let start = SystemClock.now();
        let mut now = start;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!flights.is_paused(&key, now));
            flights.pause(&key, now);
            assert!(flights.is_paused(&key, now + Duration::from_millis(seconds * 1_000 - 1)));
            now = now + Duration::from_secs(seconds);
        }
        flights.resume(&key);
        flights.pause(&key, now);
        assert!(!flights.is_paused(&key, now + Duration::from_secs(1)));
    }

    #[test]
    fn the_memory_of_unshareable_targets_is_bounded() {
        let setting = Setting::new();
        let now = SystemClock.now();
        for n in 0..3 * REMEMBERED_LIMIT {
            let key = CacheKey::build("k", n).unwrap();
            setting
                .flights
                .remember_unshareable(&key, now + Duration::from_secs(60), now);
        }
        assert!(setting.flights.table().unshareable.len() <= REMEMBERED_LIMIT);
    }
}
