//! Bytes in one direction, with what can happen to them on the way.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::connection::Connection;
use super::fault::{Direction, Fault};
use crate::clock::Stopwatch;

pub(super) struct Pump<'a> {
    direction: Direction,
    from: &'a TcpStream,
    to: &'a TcpStream,
    connection: &'a Connection,
    faults: watch::Receiver<Fault>,
    clock: Stopwatch,
    /// What was read and not yet written, with the time at which it was read.
    waiting: VecDeque<(Duration, Vec<u8>)>,
    /// Bytes written since the fault was set.
    passed: usize,
    ended: bool,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        direction: Direction,
        from: &'a TcpStream,
        to: &'a TcpStream,
        connection: &'a Connection,
    ) -> Self {
        let faults = connection.faults();
        let (clock, waiting) = (Stopwatch::start(), VecDeque::new());
        Self {
            direction,
            from,
            to,
            connection,
            faults,
            clock,
            waiting,
            passed: 0,
            ended: false,
        }
    }

    /// Until the sender has ended and everything has arrived.
    ///
    /// Bytes are written one turn after they were read, and each turn looks at the fault first. Therefore
    /// nothing that was sent after a switch escapes it.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            if self.faults.has_changed().unwrap_or(false) {
                self.passed = 0;
            }
            let fault = *self.faults.borrow_and_update();
            if fault
                .limit(self.direction)
                .is_some_and(|limit| self.passed >= limit)
            {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if fault.holds(self.direction) {
                self.faults.changed().await.map_err(io::Error::other)?;
                self.passed = 0;
                continue;
            }
            if self.ended && self.waiting.is_empty() {
                return SockRef::from(self.to).shutdown(Shutdown::Write);
            }
            self.turn(&fault).await?;
        }
    }

    async fn turn(&mut self, fault: &Fault) -> io::Result<()> {
        let due = self
            .waiting
            .front()
            .map(|(read, _)| *read + fault.delay(self.direction));
        let remaining = due.map(|due| due.saturating_sub(self.clock.elapsed()));
        let mut faults = self.faults.clone();
        tokio::select! {
            biased;
            _ = faults.changed() => Ok(()),
            () = tokio::time::sleep(remaining.unwrap_or_default()), if remaining.is_some() => self.write(fault).await,
            ready = self.from.readable(), if !self.ended && self.waiting.len() < MAX_WAITING => {
                ready?;
                self.read()
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_SIZE];
        match self.from.try_read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                buffer.truncate(length);
                self.connection.count(self.direction, &buffer);
                self.waiting.push_back((self.clock.elapsed(), buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes what has waited longest; stops half way when the fault changes.
    async fn write(&mut self, fault: &Fault) -> io::Result<()> {
        let Some((read, mut bytes)) = self.waiting.pop_front() else {
            return Ok(());
        };
        fault.edit(self.direction, &mut bytes);
        let allowed = fault
            .limit(self.direction)
            .map_or(usize::MAX, |limit| limit - self.passed);
        let mut rest = &bytes[..bytes.len().min(allowed)];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(fault.piece()));
            write_all(self.to, piece).await?;
            if fault.doubles(self.direction) {
                write_all(self.to, piece).await?;
            }
            self.passed += piece.len();
            rest = after;
            self.pause(fault.pause(piece.len())).await;
            if !rest.is_empty() && self.faults.has_changed().unwrap_or(false) {
                self.waiting.push_front((read, rest.to_vec()));
                return Ok(());
            }
        }
        Ok(())
    }

    async fn pause(&self, pause: Duration) {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Takes `&TcpStream`, so that both directions and the orders share the sockets.
pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Small, so that a slow connection notices a change soon.
const READ_SIZE: usize = 16 * 1024;
/// Beyond this the sender waits, as it would on a real network.
const MAX_WAITING: usize = 256;
