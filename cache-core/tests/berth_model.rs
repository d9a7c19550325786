//! The berth of a load under a model checker: its caller polls it, stalls or is dropped, while others join and call it
//! ashore. Whatever the schedule, the load ends in one place, and not in the berth once somebody has called.
//!
//! `berth.rs` is compiled here as it stands, against the checker's own lock.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

use shuttle::scheduler::{DfsScheduler, RandomScheduler};
use shuttle::thread::spawn;
use shuttle::{Config, Runner};

use berth::Berth;
use sync::{Arc, Mutex, lock};

#[path = "../src/cache/berth.rs"]
mod berth;

/// What `berth.rs` takes its primitives from, here the checker's.
mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};

    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

/// A load, and after how many polls it lands or wants to leave.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    polls: usize,
    ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Landing,
    Leaving,
}

/// Where a load got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It landed in its caller's hands.
    Landed,
    /// A task has it.
    Ashore,
}

#[derive(Default)]
struct World {
    berth: Berth<Load>,
    fates: Mutex<Vec<Fate>>,
}

impl World {
    fn note(&self, fate: Fate) {
        lock(&self.fates).push(fate);
    }

    fn start(&self, load: Option<&Load>) {
        if load.is_some() {
            self.note(Fate::Ashore);
        }
    }

    /// One poll by the caller; whether there may be another.
    fn poll(&self) -> bool {
        let Some(mut load) = self.berth.take() else {
            return false;
        };
        if load.polls == 0 {
            match load.ends {
                Ends::Landing => {
                    self.berth.done();
                    self.note(Fate::Landed);
                    return false;
                }
                Ends::Leaving => assert!(self.berth.leave(), "it is in its caller's hands"),
            }
        }
        load.polls = load.polls.saturating_sub(1);
        let back = self.berth.lay_back(load);
        let left = back.is_some();
        self.start(back.as_ref());
        !left
    }

    fn call(&self) {
        self.start(self.berth.call().as_ref());
    }
}

/// A caller who polls so many times and is then dropped, or never polled again, while so many others join.
fn check(polls: usize, ends: Ends, caller_polls: usize, dropped: bool, joiners: usize) {
    let model = move || {
        let world = Arc::<World>::default();
        let caller = {
            let world = world.clone();
            spawn(move || {
                world.start(world.berth.board(Load { polls, ends }).err().as_ref());
                let mut polled = 0;
                while polled < caller_polls && world.poll() {
                    polled += 1;
                }
                if dropped {
                    world.call();
                }
            })
        };
        let joiners: Vec<_> = (0..joiners)
            .map(|_| {
                let world = world.clone();
                spawn(move || world.call())
            })
            .collect();
        let called = dropped || !joiners.is_empty();
        caller.join().unwrap();
        joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
        let fates = lock(&world.fates).clone();
        assert!(fates.len() <= 1, "it was handed out twice: {fates:?}");
        assert!(!called || fates.len() == 1, "it was lost, or left behind");
        assert_eq!(world.berth.is_left(), fates.len() == 1);
    };
    Runner::new(DfsScheduler::new(Some(2_000), false), Config::new()).run(model);
    Runner::new(RandomScheduler::new(500), Config::new()).run(model);
}

#[test]
fn a_load_ends_in_one_place_whoever_polls_joins_stalls_or_is_dropped() {
    for ends in [Ends::Landing, Ends::Leaving] {
        for (polls, caller_polls) in [(0, 0), (0, 2), (1, 1), (1, 3)] {
            for (dropped, joiners) in [(false, 0), (true, 0), (false, 1), (true, 1), (true, 2)] {
                check(polls, ends, caller_polls, dropped, joiners);
            }
        }
    }
}

/// Without any race, step by step.
#[track_caller]
fn alone(steps: impl Fn(&World) + Send + Sync + 'static) {
    let model = move || steps(&World::default());
    Runner::new(DfsScheduler::new(None, false), Config::new()).run(model);
}

fn load() -> Load {
    Load {
        polls: 1,
        ends: Ends::Landing,
    }
}

#[test]
fn a_load_that_lies_there_is_given_to_the_first_who_calls() {
    alone(|World { berth, .. }| {
        assert_eq!(berth.board(load()), Ok(()));
        assert_eq!(berth.call(), Some(load()));
        assert_eq!((berth.call(), berth.take()), (None, None));
        assert!(berth.is_left());
    });
}

#[test]
fn a_load_that_is_called_while_it_is_polled_goes_after_the_poll() {
    alone(|World { berth, .. }| {
        assert_eq!(berth.board(load()), Ok(()));
        let held = berth.take().unwrap();
        assert_eq!((berth.take(), berth.call()), (None, None));
        assert!(!berth.is_left());
        assert_eq!(berth.lay_back(held), Some(load()));
        assert!(berth.is_left());
    });
}

#[test]
fn a_load_leaves_by_itself_only_from_its_callers_hands() {
    alone(|World { berth, .. }| {
        assert!(!berth.leave(), "it was never there");
        assert_eq!(berth.board(load()), Ok(()));
        let held = berth.take().unwrap();
        assert!(berth.leave() && berth.leave());
        assert_eq!(berth.lay_back(held), Some(load()));
        assert!(!berth.leave(), "it has left");
    });
}

#[test]
fn a_berth_that_was_called_before_takes_no_load() {
    alone(|World { berth, .. }| {
        assert_eq!(berth.call(), None);
        assert_eq!(berth.board(load()), Err(load()));
        assert!(berth.is_left());
    });
}
