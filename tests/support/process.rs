//! One child process, addressed by its id and by nothing else.

use std::fmt;
use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::scratch;
use crate::wait::holds_within;

/// A running child; killed and reaped on drop.
pub(crate) struct Process {
    child: Mutex<Child>,
    pid: u32,
}

/// What is connected with a child's standard streams.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: Option<ChildStdout>,
    pub(crate) errors: Option<ChildStderr>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let pid = child.id();
        scratch::watch(pid);
        Ok(Self {
            child: Mutex::new(child),
            pid,
        })
    }

    /// As [`spawn`](Self::spawn), with the pipes the command asks for.
    pub(crate) fn spawn_with_pipes(command: &mut Command) -> (Self, Pipes) {
        let process = Self::spawn(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut child = process.child();
        let pipes = Pipes {
            input: child.stdin.take(),
            output: child.stdout.take(),
            errors: child.stderr.take(),
        };
        drop(child);
        (process, pipes)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.child()
            .try_wait()
            .expect("a child of ours can be waited for")
    }

    /// SIGKILL, and wait until it is gone. Nothing happens when it has ended before.
    pub(crate) fn kill(&self) {
        let mut child = self.child();
        // Fails only when the process has ended and was reaped, which is what we want.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGTERM; does not wait.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP, and wait until it has taken effect.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let stopped = holds_within(SIGNAL_TAKES_EFFECT, || self.state() == Some('T'));
        assert!(stopped, "process {} did not stop", self.pid);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Only after a successful wait can the id belong to another process.
        let running = child
            .try_wait()
            .expect("a child of ours can be waited for")
            .is_none();
        assert!(
            running,
            "process {} has ended, it cannot get {signal:?}",
            self.pid
        );
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.pid));
    }

    /// What its threads have run, in user mode and for it in the kernel. Nothing when it has ended.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let fields = self.stat()?;
        let mut ticks = fields
            .split(' ')
            .skip(11)
            .map_while(|ticks| ticks.parse::<u64>().ok());
        Some(TICK * u32::try_from(ticks.next()? + ticks.next()?).ok()?)
    }

    /// The letter in the third field of `/proc/PID/stat`.
    fn state(&self) -> Option<char> {
        self.stat()?.chars().next()
    }

    /// The fields of `/proc/PID/stat` from the third on; the second is a name in parentheses, which may contain anything.
    fn stat(&self) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        Some(stat[stat.rfind(')')? + 1..].trim_start().to_owned())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        scratch::forget(self.pid);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// In which Linux counts what a process has run, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);
const SIGNAL_TAKES_EFFECT: Duration = Duration::from_secs(5);
