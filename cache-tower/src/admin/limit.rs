//! How often something may happen: wrong tokens per address, and clearing everything. Time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::time::Timestamp;

/// Wrong tokens, by the address that sent them.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_address: Mutex<HashMap<Option<IpAddr>, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    failures: u32,
}

impl Attempts {
    /// Whether this address has to wait, and how long.
    pub(super) fn wait(&self, address: Option<IpAddr>, now: Timestamp) -> Option<Duration> {
        let windows = locked(&self.by_address);
        let window = windows.get(&network(address))?;
        let passed = now.since(window.since);
        (window.failures >= MAX_FAILURES && passed < WINDOW).then(|| WINDOW - passed)
    }

    /// Notes a wrong token.
    pub(super) fn failed(&self, address: Option<IpAddr>, now: Timestamp) {
        let mut windows = locked(&self.by_address);
        let address = network(address);
        if windows.len() >= MAX_ADDRESSES && !windows.contains_key(&address) {
            make_room(&mut windows, now);
        }
        let window = windows.entry(address).or_insert(Window {
            since: now,
            failures: 0,
        });
        if now.since(window.since) >= WINDOW {
            *window = Window {
                since: now,
                failures: 0,
            };
        }
        window.failures = window.failures.saturating_add(1);
    }
}

/// Forgets what is over; if all are under way, the oldest: memory is bounded before all else.
fn make_room(windows: &mut HashMap<Option<IpAddr>, Window>, now: Timestamp) {
    windows.retain(|_, window| now.since(window.since) < WINDOW);
    if windows.len() >= MAX_ADDRESSES {
        let oldest = windows.iter().min_by_key(|(_, window)| window.since);
        if let Some(address) = oldest.map(|(address, _)| *address) {
            windows.remove(&address);
        }
    }
}

/// Who has one address of IPv6 has 2⁶⁴ of them.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    Some(match address?.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            Ipv6Addr::from(network).into()
        }
        address @ IpAddr::V4(_) => address,
    })
}

/// Something that may happen once per second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Mutex<Option<Timestamp>>,
}

impl Pace {
    /// Takes this second's turn; how long to wait if it was taken.
    pub(super) fn take(&self, now: Timestamp) -> Result<(), Duration> {
        let mut last = locked(&self.last);
        if let Some(last) = *last {
            let passed = now.since(last);
            if passed < PACE {
                return Err(PACE - passed);
            }
        }
        *last = Some(now);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_secs(1);
const MAX_ADDRESSES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * SECOND)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ten_failures_in_a_minute_close_the_door_for_the_rest_of_it() {
        let attempts = Attempts::default();
        let (guest, other) = (address("192.0.2.7"), address("192.0.2.8"));
        for second in 0..10 {
            assert_eq!(attempts.wait(guest, at(second)), None);
            attempts.failed(guest, at(second));
        }
        assert_eq!(attempts.wait(guest, at(15)), Some(Duration::from_secs(45)));
        assert!(attempts.wait(address("::ffff:192.0.2.7"), at(15)).is_some());
        assert_eq!(attempts.wait(other, at(15)), None);
        assert_eq!(attempts.wait(guest, at(60)), None);
        attempts.failed(guest, at(60));
        assert_eq!(attempts.wait(guest, at(61)), None, "a new minute, a new count");
    }

    #[test]
    fn a_network_of_ipv6_is_one_guest() {
        let attempts = Attempts::default();
        for n in 0..10 {
            attempts.failed(address(&format!("2001:db8::{n}")), at(0));
        }
        assert!(attempts.wait(address("2001:db8::ffff"), at(0)).is_some());
        assert_eq!(attempts.wait(address("2001:db8:0:1::1"), at(0)), None);
    }

    #[test]
    fn many_addresses_take_no_more_room_than_few() {
        let attempts = Attempts::default();
        for n in 0..5_000_u32 {
            attempts.failed(Some(IpAddr::V4(n.into())), at(0));
        }
        assert_eq!(locked(&attempts.by_address).len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_turn_is_taken_once_a_second() {
        let pace = Pace::default();
        assert_eq!(pace.take(at(5)), Ok(()));
        assert_eq!(pace.take(at(5)), Err(PACE));
        assert_eq!(pace.take(at(6)), Ok(()));
    }
}
