//! The lines which this process logs through `tracing`.

use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

/// The log lines of the whole process since [`start`](Self::start), at all levels.
///
/// Tests of one process share the log, because spawned tasks log from any thread: assert that a line is there,
/// and make it unmistakable (a key or name of this test only). That a secret is absent holds for all of them.
#[derive(Debug)]
pub struct LogCapture {
    from: usize,
}

impl LogCapture {
    /// From now on lines are kept.
    pub fn start() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false);
            let subscriber = subscriber.without_time().with_writer(|| Appender).finish();
            tracing::subscriber::set_global_default(subscriber)
                .expect("only the harness installs a subscriber");
        });
        Self { from: log().len() }
    }

    /// Everything since the start.
    pub fn text(&self) -> String {
        log()[self.from..].to_owned()
    }

    /// The lines since the start which contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        log()[self.from..]
            .lines()
            .filter(|line| line.contains(part))
            .map(str::to_owned)
            .collect()
    }

    /// Fails unless a line contains all `parts`.
    ///
    /// # Panics
    /// When there is none; the message is the log.
    #[track_caller]
    pub fn assert_line(&self, parts: &[&str]) {
        let text = self.text();
        let found = text
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} in:\n{text}");
    }
}

/// `tracing_subscriber` writes one whole event per call.
struct Appender;

impl io::Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> MutexGuard<'static, String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

static LOG: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);
