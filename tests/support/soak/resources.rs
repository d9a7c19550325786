//! Memory, open files and tasks of a process, and whether they grow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;

/// What a process used while it was watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Which process.
    pub who: String,
    /// Resident memory at first, in MiB.
    pub first_mib: f64,
    /// The most there was.
    pub peak_mib: f64,
    /// At last.
    pub last_mib: f64,
    /// Growth in the second half of the time, when everything has warmed up, in MiB per minute: the slope of a
    /// least-squares fit, less what chance alone may have given it (two standard errors).
    pub slope_mib_per_minute: f64,
    /// Open files at first and at last, and their growth per minute in the second half.
    pub files: (u64, u64),
    /// Growth of the number of open files per minute in the second half.
    pub slope_files_per_minute: f64,
    /// Tasks of the runtime at first and at last, where they can be seen.
    pub tasks: Option<(u64, u64)>,
    /// Growth of the number of tasks per minute in the second half.
    pub slope_tasks_per_minute: f64,
    /// How long it was watched, in seconds.
    pub seconds: f64,
}

/// Looks at a process again and again.
#[derive(Debug)]
pub(super) struct Watch {
    who: String,
    pid: u32,
    began: Stopwatch,
    samples: Arc<Mutex<Vec<Sample>>>,
    looking: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    minutes: f64,
    mib: f64,
    files: u64,
    tasks: u64,
}

impl Watch {
    pub(super) fn start(who: impl Into<String>, pid: u32) -> Self {
        let (samples, began) = (Arc::<Mutex<Vec<Sample>>>::default(), Stopwatch::start());
        let looking = tokio::spawn({
            let samples = samples.clone();
            async move {
                loop {
                    let seen = look(pid, began);
                    lock(&samples).extend(seen);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self {
            who: who.into(),
            pid,
            began,
            samples,
            looking,
        }
    }

    /// What was seen.
    pub(super) async fn stop(self) -> Resources {
        self.looking.abort();
        let mut samples = lock(&self.samples).clone();
        samples.extend(look(self.pid, self.began));
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Resources {
                who: self.who,
                ..Resources::default()
            };
        };
        let later = &samples[samples.len() / 2..];
        let is_own = self.pid == std::process::id();
        Resources {
            who: self.who,
            first_mib: first.mib,
            peak_mib: samples.iter().map(|sample| sample.mib).fold(0.0, f64::max),
            last_mib: last.mib,
            slope_mib_per_minute: slope(later, |sample| sample.mib),
            files: (first.files, last.files),
            slope_files_per_minute: slope(later, |sample| sample.files as f64),
            tasks: is_own.then_some((first.tasks, last.tasks)),
            slope_tasks_per_minute: slope(later, |sample| sample.tasks as f64),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}

/// Bytes of this process in memory.
pub(super) fn resident() -> u64 {
    resident_of(std::process::id()).expect("this process exists")
}

/// Open files of this process.
pub(super) fn open_files() -> u64 {
    files_of(std::process::id()).expect("this process exists")
}

/// Tasks of this runtime.
pub(super) fn tasks() -> u64 {
    tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64
}

/// Nothing if the process has ended.
fn look(pid: u32, began: Stopwatch) -> Option<Sample> {
    Some(Sample {
        minutes: began.elapsed().as_secs_f64() / 60.0,
        mib: resident_of(pid)? as f64 / f64::from(1 << 20),
        files: files_of(pid)?,
        tasks: tasks(),
    })
}

fn resident_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

fn files_of(pid: u32) -> Option<u64> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// The slope of the line that fits best, per minute, nearer to zero by two standard errors: what is under way when one
/// looks goes up and down without growing.
fn slope(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| {
        (x + sample.minutes / count, y + of(sample) / count)
    });
    let (mut products, mut squares) = (0.0, 0.0);
    for sample in samples {
        products += (sample.minutes - x) * (of(sample) - y);
        squares += (sample.minutes - x).powi(2);
    }
    if squares == 0.0 || count < 3.0 {
        return 0.0;
    }
    let slope = products / squares;
    let beside = |sample: &Sample| of(sample) - y - slope * (sample.minutes - x);
    let scatter: f64 = samples.iter().map(|sample| beside(sample).powi(2)).sum();
    let error = (scatter / (count - 2.0) / squares).sqrt();
    slope.signum() * (slope.abs() - 2.0 * error).max(0.0)
}

fn lock(samples: &Mutex<Vec<Sample>>) -> std::sync::MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        let sample = |n: u32| Sample {
            minutes: f64::from(n) / 60.0,
            mib: 10.0 + f64::from(n) * 0.5 + f64::from(n % 2),
            files: 7,
            tasks: 0,
        };
        let samples: Vec<_> = (0..101).map(sample).collect();
        let memory = slope(&samples, |sample| sample.mib);
        assert!((29.0..30.0).contains(&memory), "{memory}");
        assert!(slope(&samples, |sample| sample.files as f64).abs() < 1e-9);
        assert_eq!(slope(&[], |sample| sample.mib), 0.0);
    }

    #[test]
    fn what_goes_up_and_down_does_not_grow() {
        // What chance may show in half a minute.
        let tasks = [8, 9, 7, 8, 8, 7, 9, 8, 7, 8, 9, 7, 8, 8, 9, 8, 7, 9, 8, 9];
        let sample = |(n, tasks): (u32, u64)| Sample {
            minutes: f64::from(n) / 120.0,
            mib: 0.0,
            files: 0,
            tasks,
        };
        let samples: Vec<_> = (0..).zip(tasks).map(sample).collect();
        assert_eq!(slope(&samples, |sample| sample.tasks as f64), 0.0);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        assert!(resident() > 1 << 20 && open_files() > 2);
        assert!(resident_of(u32::MAX).is_none());
    }
}
