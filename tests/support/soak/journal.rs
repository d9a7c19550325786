//! Progress, told while a scenario runs.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Scenario, Tally};
use crate::clock::Stopwatch;

/// What has happened, and where it is told: on standard error while it happens, and in the report.
#[derive(Debug)]
pub struct Journal {
    began: Stopwatch,
    events: Mutex<Vec<String>>,
    loud: bool,
}

impl Journal {
    /// Tells everything on standard error.
    pub fn loud() -> Self {
        Self::new(true)
    }

    /// Tells events on standard output, which a test shows when it fails.
    pub fn quiet() -> Self {
        Self::new(false)
    }

    fn new(loud: bool) -> Self {
        Self {
            began: Stopwatch::start(),
            events: Mutex::default(),
            loud,
        }
    }

    /// Something happened that a report should show.
    pub fn note(&self, event: impl std::fmt::Display) {
        let line = format!("{:>7.1} s  {event}", self.began.elapsed().as_secs_f64());
        match self.loud {
            true => self.tell(&line, "\n"),
            false => println!("{line}"),
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < KEPT {
            events.push(line);
        }
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how far it is, every second on a terminal and every tenth elsewhere.
    pub(super) fn tick(
        self: Arc<Self>,
        scenario: Scenario,
        length: Duration,
        tally: Arc<Tally>,
    ) -> JoinHandle<()> {
        let terminal = std::io::stderr().is_terminal();
        let pause = if terminal { 1 } else { 10 };
        tokio::spawn(async move {
            if !self.loud {
                return;
            }
            loop {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                let line = format!(
                    "{:<3} {} of {}  {} calls, {} failed, {} foreign",
                    scenario.name(),
                    clock(self.began.elapsed()),
                    clock(length),
                    tally.calls(),
                    tally.failed(),
                    tally.foreign(),
                );
                self.tell(&line, if terminal { "" } else { "\n" });
            }
        })
    }

    fn tell(&self, line: &str, end: &str) {
        let mut out = std::io::stderr().lock();
        let start = if out.is_terminal() { "\r\x1b[2K" } else { "" };
        // Nobody may be listening.
        let _ = write!(out, "{start}{line}{end}").and_then(|()| out.flush());
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Enough for hours; what comes later is told, and not kept.
const KEPT: usize = 20_000;
