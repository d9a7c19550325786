//! Several processes of the same program, talked to line by line.
//!
//! The program reads orders from its standard input and prints events on its standard output, one per line;
//! what it prints on standard error is kept for assertions on logs.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::process::Process;
use crate::wait::wait_until_blocking;

/// A group of processes; all are killed on drop.
#[derive(Debug)]
pub struct Children {
    members: Vec<Child>,
}

impl Children {
    /// Starts `count` processes; `configure` gives each its arguments and environment.
    pub fn spawn(program: impl AsRef<Path>, count: usize, configure: impl Fn(usize, &mut Command)) -> Self {
        let member = |number| {
            let mut command = Command::new(program.as_ref());
            configure(number, &mut command);
            Child::spawn(&mut command)
        };
        Self {
            members: (0..count).map(member).collect(),
        }
    }

    /// Sends the same line to all that run.
    pub fn send(&self, line: &str) {
        self.members
            .iter()
            .filter(|member| member.is_running())
            .for_each(|member| member.send(line));
    }
}

impl std::ops::Deref for Children {
    type Target = [Child];

    fn deref(&self) -> &[Child] {
        &self.members
    }
}

/// One process; killed on drop.
#[derive(Debug)]
pub struct Child {
    process: Process,
    input: Mutex<Option<ChildStdin>>,
    output: Arc<Lines>,
    errors: Arc<Lines>,
    /// How many lines [`next_line`](Self::next_line) has returned.
    read: Mutex<usize>,
}

impl Child {
    /// Starts one process.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (process, pipes) = Process::spawn_with_pipes(command);
        Self {
            process,
            input: Mutex::new(pipes.input),
            output: Lines::collect(pipes.output),
            errors: Lines::collect(pipes.errors),
            read: Mutex::new(0),
        }
    }

    /// Sends a line to its standard input.
    ///
    /// # Panics
    /// When it has closed it.
    pub fn send(&self, line: &str) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = input
            .as_mut()
            .map(|input| input.write_all(format!("{line}\n").as_bytes()));
        assert!(
            matches!(sent, Some(Ok(()))),
            "{line:?} to {}: {sent:?}\n{}",
            self.pid(),
            self.transcript()
        );
    }

    /// Closes its standard input, by which many programs know that they should end.
    pub fn close_input(&self) {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The next line of its standard output.
    ///
    /// # Panics
    /// When none comes in time, or it has ended.
    pub fn next_line(&self, within: Duration) -> String {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let line = self.output.wait_for(*read, within);
        let line =
            line.unwrap_or_else(|why| panic!("{} printed nothing: {why}\n{}", self.pid(), self.transcript()));
        *read += 1;
        line
    }

    /// The next line that begins with `start`; lines before it are passed over.
    ///
    /// # Panics
    /// When none comes in time, or it has ended.
    pub fn next_line_with(&self, start: &str, within: Duration) -> String {
        let stopwatch = Stopwatch::start();
        loop {
            let line = self.next_line(within.saturating_sub(stopwatch.elapsed()));
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// All lines of its standard output so far.
    pub fn output(&self) -> Vec<String> {
        self.output.so_far()
    }

    /// All lines of its standard output, to its end.
    ///
    /// # Panics
    /// When it does not end within ten seconds.
    pub fn whole_output(&self) -> Vec<String> {
        wait_until_blocking(Duration::from_secs(10), "its output ends", || {
            self.output.state().ended
        });
        self.output()
    }

    /// All lines of its standard error so far.
    pub fn errors(&self) -> Vec<String> {
        self.errors.so_far()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it exists (it may be frozen).
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// How long it has kept processors busy so far.
    ///
    /// # Panics
    /// When it has ended.
    pub fn processor_time(&self) -> Duration {
        self.process
            .processor_time()
            .unwrap_or_else(|| panic!("process {} has ended", self.pid()))
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGTERM; see [`wait`](Self::wait).
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait(&self, within: Duration) -> ExitStatus {
        wait_until_blocking(within, "the process ends", || !self.is_running());
        self.process
            .exit_status()
            .expect("it has ended, as the line above waited for")
    }

    fn transcript(&self) -> String {
        format!(
            "output:\n{}\nerrors:\n{}",
            self.output().join("\n"),
            self.errors().join("\n")
        )
    }
}

/// The lines of a pipe, collected by a thread so that the process never blocks on a full pipe.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<LinesState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LinesState {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let collector = Arc::clone(&lines);
        // Ends with the pipe, hence with the process.
        std::thread::spawn(move || {
            if let Some(pipe) = pipe {
                let pipe = BufReader::new(pipe).split(b'\n');
                pipe.map_while(Result::ok).for_each(|line| collector.push(&line));
            }
            collector.end();
        });
        lines
    }

    fn push(&self, line: &[u8]) {
        self.state()
            .lines
            .push(String::from_utf8_lossy(line).into_owned());
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn so_far(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    fn wait_for(&self, index: usize, within: Duration) -> Result<String, &'static str> {
        let missing = |state: &mut LinesState| state.lines.len() <= index && !state.ended;
        let waited = self.changed.wait_timeout_while(self.state(), within, missing);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let why = if timeout.timed_out() {
            "the time is up"
        } else {
            "it has ended"
        };
        state.lines.get(index).cloned().ok_or(why)
    }

    fn state(&self) -> MutexGuard<'_, LinesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
