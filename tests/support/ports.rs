//! Ports for servers which other processes must be able to find again after a restart.
//!
//! A port from `bind(0)` may be taken by anybody between the look and the use, and while a server is down
//! any outgoing connection of the machine may get it. Therefore ports come from below the range of outgoing
//! connections, and a UDP socket on the same number marks them as taken: all test processes respect the mark,
//! servers do not mind it, and it vanishes with its process.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// A TCP port of 127.0.0.1 that no other test takes as long as this value lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _mark: UdpSocket,
}

impl Port {
    /// Takes a free port.
    pub(crate) fn reserve() -> Self {
        retry(|| Self::take(rand::random_range(FIRST..=LAST)))
    }

    /// Takes a port and the one 10,000 above it, which a cluster node uses for its bus.
    pub(crate) fn reserve_with_bus() -> (Self, Self) {
        retry(|| {
            let number = rand::random_range(FIRST..=LAST);
            Some((Self::take(number)?, Self::take(number + BUS_OFFSET)?))
        })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn take(number: u16) -> Option<Self> {
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _mark: mark })
    }
}

fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..ATTEMPTS)
        .find_map(|_| attempt())
        .expect("one of thousands of ports is free on a machine that runs tests")
}

/// With the bus offset all numbers stay below 32768, where Linux begins to hand out ports of outgoing connections.
const FIRST: u16 = 12_000;
const LAST: u16 = 21_999;
const BUS_OFFSET: u16 = 10_000;
const ATTEMPTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_out_again_until_dropped() {
        let port = Port::reserve();
        assert!(Port::take(port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(Port::take(number).is_some());
    }

    #[test]
    fn a_port_somebody_listens_on_is_not_given_out() {
        let port = Port::reserve();
        let number = port.number();
        drop(port);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        assert!(Port::take(number).is_none());
    }
}
