//! The table behind locks and claims: named, time-bound ownership in this process.
//!
//! A lease belongs to whoever holds its token and ends by itself, so a holder that dies blocks nobody for longer than
//! the lease. Leases are kept apart from cached entries: they are never evicted.

use std::collections::HashMap;

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::shared::LockKind;
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;

/// What a lease is for; locks and claims of one name do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeaseKind {
    Lock,
    Claim,
}

impl LeaseKind {
    pub(crate) fn shared(self) -> LockKind {
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
    pub(crate) released: Arc<Notify>,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
