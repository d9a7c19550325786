//! The single flight under a model checker: threads are scheduled one step at a time, and every lock is a place where
//! another one may go on. A wake-up that is lost leaves somebody waiting for ever, which the checker reports.
//!
//! `flight.rs` is compiled here as it stands, against the checker's own locks.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use sync::{Arc, Mutex, lock};

#[path = "../src/flight.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the engine uses all of it, one model only a part"
)]
mod flight;

/// What `flight.rs` takes its primitives from, here the checker's.
mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};

    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

type Flights = flight::Flights<u8, (), u64, RandomState>;
type Leader = flight::Leader<u8, (), u64, RandomState>;
type Follower = flight::Follower<u8, (), u64, RandomState>;
type Role = flight::Role<u8, (), u64, RandomState>;
type Arrival = flight::Arrival<u8, (), u64, RandomState>;

const KEY: u8 = 7;

/// What callers got, by flight.
#[derive(Default)]
struct Log {
    landed: Mutex<Vec<(u64, u64)>>,
    values: Mutex<u64>,
}

impl Log {
    /// A value no other load gives.
    fn load(&self) -> u64 {
        let mut values = lock(&self.values);
        *values += 1;
        *values
    }

    fn got(&self, flight: u64, value: u64) {
        lock(&self.landed).push((flight, value));
    }

    fn assert_one_value_per_flight(&self) {
        let mut first = HashMap::new();
        for (flight, value) in lock(&self.landed).iter() {
            assert_eq!(
                first.entry(*flight).or_insert(*value),
                value,
                "two values of flight {flight}"
            );
        }
    }
}

/// What a caller does once it leads.
#[derive(Clone, Copy, Debug)]
enum Lead {
    /// Works for so many steps and lands the flight.
    Complete(usize),
    /// Works for so many steps and leaves.
    Leave(usize),
}

/// One caller on its way.
#[derive(Clone, Copy, Debug)]
struct Caller {
    lead: Lead,
    /// Takes the lead after so many steps of waiting.
    patience: Option<usize>,
    /// Is dropped when it has waited so many times.
    dropped_after: Option<usize>,
}

impl Caller {
    fn patient(lead: Lead) -> Self {
        Self {
            lead,
            patience: None,
            dropped_after: None,
        }
    }

    fn any() -> Self {
        let mut rng = thread_rng();
        let steps = rng.gen_range(0..3);
        Self {
            lead: if rng.gen_bool(0.6) {
                Lead::Complete(steps)
            } else {
                Lead::Leave(steps)
            },
            patience: rng.gen_bool(0.3).then(|| rng.gen_range(0..4)),
            dropped_after: rng.gen_bool(0.4).then(|| rng.gen_range(0..4)),
        }
    }

    /// The value, unless this caller was dropped or left the lead to another.
    async fn call(self, flights: Arc<Flights>, log: Arc<Log>) -> Option<u64> {
        let call = self.join(&flights, &log);
        match self.dropped_after {
            None => call.await,
            Some(polls) => {
                Dropped {
                    call: pin!(call),
                    polls,
                }
                .await
            }
        }
    }

    async fn join(self, flights: &Arc<Flights>, log: &Log) -> Option<u64> {
        let leader = match flights.join(&KEY, |()| true, || ()) {
            Role::Leader(leader) => leader,
            Role::Follower(follower) => match self.wait(follower, log).await {
                Ok(value) => return Some(value),
                Err(leader) => leader,
            },
        };
        self.work(leader, log).await
    }

    async fn wait(self, mut follower: Follower, log: &Log) -> Result<u64, Leader> {
        let flight = follower.id();
        let mut steps = 0;
        loop {
            let arrival = match self.patience {
                None => (&mut follower).await,
                Some(_) => match step(&mut follower).await {
                    Some(arrival) => arrival,
                    None => {
                        steps += 1;
                        if Some(steps) > self.patience
                            && let Some(leader) = follower.usurp()
                        {
                            return Err(leader);
                        }
                        continue;
                    }
                },
            };
            return match arrival {
                Arrival::Landed(value) => {
                    log.got(flight, value);
                    Ok(value)
                }
                Arrival::Lead(leader) => Err(leader),
            };
        }
    }

    async fn work(self, leader: Leader, log: &Log) -> Option<u64> {
        let (Lead::Complete(steps) | Lead::Leave(steps)) = self.lead;
        for _ in 0..steps {
            yield_now().await;
        }
        if let Lead::Leave(_) = self.lead {
            return None;
        }
        let value = log.load();
        leader.complete(value);
        Some(value)
    }
}

/// Polls once, and lets others go on if there is nothing yet.
async fn step(follower: &mut Follower) -> Option<Arrival> {
    let polled = std::future::poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *follower).poll(context) {
            Poll::Ready(arrival) => Some(arrival),
            Poll::Pending => None,
        })
    })
    .await;
    if polled.is_none() {
        yield_now().await;
    }
    polled
}

/// A call whose future is dropped after it was pending so many times.
struct Dropped<F> {
    call: F,
    polls: usize,
}

impl<F: Future<Output = Option<u64>> + Unpin> Future for Dropped<F> {
    type Output = Option<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<u64>> {
        match Pin::new(&mut self.call).poll(context) {
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.polls -= 1;
                Poll::Pending
            }
            ready @ Poll::Ready(_) => ready,
        }
    }
}

fn flights() -> Arc<Flights> {
    Arc::new(Flights::new(1))
}

fn assert_empty(flights: &Flights) {
    assert_eq!(flights.len(), 0, "a flight stayed behind");
    assert_eq!(flights.waiting(), 0, "a waiter stayed behind");
}

/// Random schedules, and schedules with few but well-placed switches, which find other mistakes.
fn check_at_random(iterations: usize, model: impl Fn() + Send + Sync + Copy + 'static) {
    Runner::new(RandomScheduler::new(iterations), Config::new()).run(model);
    Runner::new(PctScheduler::new(3, iterations / 4), Config::new()).run(model);
}

/// Every schedule, as long as there are not too many.
fn check_all(model: impl Fn() + Send + Sync + 'static) {
    Runner::new(DfsScheduler::new(Some(FEW), false), Config::new()).run(model);
}

/// For models that are many by their own random choices.
const MANY: usize = 10_000;
/// For models of one situation.
const FEW: usize = 2_000;

/// `callers` of one key at once; all those that are patient get a value or leave the lead.
fn callers_at_once(callers: Vec<Caller>) -> Vec<Option<u64>> {
    let (flights, log) = (flights(), Arc::new(Log::default()));
    let calls: Vec<_> = callers
        .into_iter()
        .map(|caller| spawn(caller.call(flights.clone(), log.clone())))
        .collect();
    let got = calls.into_iter().map(|call| block_on(call).unwrap()).collect();
    log.assert_one_value_per_flight();
    assert_empty(&flights);
    got
}

#[test]
fn whoever_leaves_or_is_dropped_when_nobody_waits_for_ever_and_nothing_stays_behind() {
    check_at_random(MANY, || {
        let callers = (0..4).map(|_| Caller::any()).collect();
        callers_at_once(callers);
    });
}

#[test]
fn everyone_who_stays_is_answered_although_others_leave() {
    check_at_random(MANY, || {
        let mut callers: Vec<_> = (0..2)
            .map(|_| Caller::patient(Lead::Complete(thread_rng().gen_range(0..3))))
            .collect();
        callers.extend((0..3).map(|_| Caller {
            dropped_after: Some(thread_rng().gen_range(0..3)),
            ..Caller::any()
        }));
        let got = callers_at_once(callers);
        assert!(got[..2].iter().all(Option::is_some), "{got:?}");
    });
}

#[test]
fn a_leader_that_leaves_hands_over_in_every_schedule_of_two() {
    check_all(|| {
        let got = callers_at_once(vec![
            Caller::patient(Lead::Leave(0)),
            Caller::patient(Lead::Complete(0)),
        ]);
        assert!(got[1].is_some());
    });
}

#[test]
fn a_follower_that_is_dropped_while_the_lead_passes_to_it_passes_it_on() {
    let model = || {
        let got = callers_at_once(vec![
            Caller::patient(Lead::Leave(1)),
            Caller {
                dropped_after: Some(0),
                ..Caller::patient(Lead::Complete(1))
            },
            Caller::patient(Lead::Complete(1)),
        ]);
        assert!(got[2].is_some());
    };
    check_all(model);
    check_at_random(FEW, model);
}

#[test]
fn a_leader_and_the_one_who_took_its_place_land_one_value() {
    let model = || {
        let callers = vec![
            Caller::patient(Lead::Complete(2)),
            Caller {
                patience: Some(0),
                ..Caller::patient(Lead::Complete(0))
            },
            Caller::patient(Lead::Complete(0)),
        ];
        let got = callers_at_once(callers);
        assert!(got.iter().all(Option::is_some), "{got:?}");
    };
    check_all(model);
    check_at_random(FEW, model);
}

/// The leader lives and does nothing, like a borrowing caller that nobody polls.
#[test]
fn of_many_impatient_followers_one_takes_the_lead_from_a_leader_that_does_nothing() {
    check_at_random(FEW, || {
        let (flights, log) = (flights(), Arc::new(Log::default()));
        let Role::Leader(idle) = flights.join(&KEY, |()| true, || ()) else {
            unreachable!("the first to join leads")
        };
        let impatient = |lead| Caller {
            patience: Some(thread_rng().gen_range(0..3)),
            ..Caller::patient(lead)
        };
        let calls: Vec<_> = [Lead::Complete(1), Lead::Complete(0), Lead::Complete(2)]
            .map(|lead| spawn(impatient(lead).call(flights.clone(), log.clone())))
            .into_iter()
            .collect();
        for call in calls {
            assert!(block_on(call).unwrap().is_some());
        }
        log.assert_one_value_per_flight();
        assert_empty(&flights);
        if thread_rng().gen_bool(0.5) {
            idle.complete(0);
        }
        assert_empty(&flights);
    });
}

#[test]
fn who_comes_after_a_flight_was_taken_out_of_sight_starts_another_and_the_old_one_still_lands() {
    check_at_random(FEW, || {
        let (flights, log) = (flights(), Arc::new(Log::default()));
        let early: Vec<_> = (0..2)
            .map(|_| {
                let lead = if thread_rng().gen_bool(0.5) {
                    Lead::Complete(1)
                } else {
                    Lead::Leave(1)
                };
                spawn(Caller::patient(lead).call(flights.clone(), log.clone()))
            })
            .collect();
        let late = {
            let (flights, log) = (flights.clone(), log.clone());
            spawn(async move {
                let before = *lock(&log.values);
                if thread_rng().gen_bool(0.5) {
                    flights.detach_where(&KEY, |key| *key == KEY);
                } else {
                    flights.detach_all();
                }
                // What loaded before the line above is not what this caller gets, unless it had landed by then.
                let value = Caller::patient(Lead::Complete(0))
                    .call(flights.clone(), log.clone())
                    .await
                    .unwrap();
                assert!(value > before, "{value} is from before {before}");
            })
        };
        for call in early {
            block_on(call).unwrap();
        }
        block_on(late).unwrap();
        log.assert_one_value_per_flight();
        assert_empty(&flights);
    });
}

#[test]
fn a_leader_learns_that_the_last_follower_left() {
    let model = || {
        let flights = flights();
        let Role::Leader(leader) = flights.join(&KEY, |()| true, || ()) else {
            unreachable!("the first to join leads")
        };
        let own = leader.follower();
        let watch = spawn(async move { leader.abandoned().await });
        let others: Vec<_> = (0..2)
            .map(|_| {
                let flights = flights.clone();
                spawn(async move {
                    if let Role::Follower(mut follower) = flights.join(&KEY, |()| true, || ()) {
                        drop(step(&mut follower).await);
                    }
                })
            })
            .collect();
        drop(own);
        for other in others {
            block_on(other).unwrap();
        }
        block_on(watch).unwrap();
        assert_empty(&flights);
    };
    check_all(model);
    check_at_random(FEW, model);
}

#[test]
fn a_background_leader_starts_only_where_there_is_no_flight() {
    check_at_random(FEW, || {
        let (flights, log) = (flights(), Arc::new(Log::default()));
        let background = {
            let (flights, log) = (flights.clone(), log.clone());
            spawn(async move {
                if let Some(leader) = flights.lead(&KEY, || ()) {
                    yield_now().await;
                    if thread_rng().gen_bool(0.5) {
                        leader.complete(log.load());
                    }
                }
            })
        };
        let calls: Vec<_> = (0..2)
            .map(|_| spawn(Caller::patient(Lead::Complete(1)).call(flights.clone(), log.clone())))
            .collect();
        for call in calls {
            assert!(block_on(call).unwrap().is_some());
        }
        block_on(background).unwrap();
        log.assert_one_value_per_flight();
        assert_empty(&flights);
    });
}

#[test]
fn of_followers_that_lose_patience_with_one_leader_at_once_one_takes_the_lead() {
    let model = || {
        let (flights, log) = (flights(), Arc::new(Log::default()));
        let Role::Leader(idle) = flights.join(&KEY, |()| true, || ()) else {
            unreachable!("the first to join leads")
        };
        let follow = |_| match flights.join(&KEY, |()| true, || ()) {
            Role::Follower(follower) => follower,
            Role::Leader(_) => unreachable!("somebody leads"),
        };
        let followers: Vec<_> = (0..3).map(follow).collect();
        let impatient: Vec<_> = followers
            .into_iter()
            .map(|mut follower| spawn(async move { (follower.usurp(), follower) }))
            .collect();
        let (leaders, followers): (Vec<_>, Vec<_>) =
            impatient.into_iter().map(|call| block_on(call).unwrap()).unzip();
        let mut leaders: Vec<_> = leaders.into_iter().flatten().collect();
        assert_eq!(leaders.len(), 1, "leaders at once");
        leaders.remove(0).complete(log.load());
        for follower in followers {
            assert!(matches!(block_on(follower), Arrival::Landed(1)));
        }
        drop(idle);
        assert_empty(&flights);
    };
    check_all(model);
    check_at_random(FEW, model);
}

#[test]
fn a_leader_whose_place_was_taken_leaves_without_consequence() {
    check_at_random(FEW, || {
        let (flights, log) = (flights(), Arc::new(Log::default()));
        let Role::Leader(idle) = flights.join(&KEY, |()| true, || ()) else {
            unreachable!("the first to join leads")
        };
        let follow = || match flights.join(&KEY, |()| true, || ()) {
            Role::Follower(follower) => follower,
            Role::Leader(_) => unreachable!("somebody leads"),
        };
        let (mut impatient, patient) = (follow(), follow());
        let taken = impatient.usurp().unwrap();
        let patient = spawn(patient);
        let leaves = spawn(async move { drop(idle) });
        let works = spawn(async move { Caller::patient(Lead::Complete(2)).work(taken, &log).await });
        assert_eq!(block_on(works).unwrap(), Some(1));
        assert!(matches!(block_on(patient).unwrap(), Arrival::Landed(1)));
        block_on(leaves).unwrap();
        drop(impatient);
        assert_empty(&flights);
    });
}
