//! Temporary folders and the watchdog that outlives a killed test process.
//!
//! A dropped value cleans up after itself. A test process that gets SIGKILL drops nothing, so a small shell
//! process waits at the other end of a pipe: when the pipe closes it kills every server still registered and
//! removes the folder. A death signal of the kernel would be simpler, but it fires when the *thread* that
//! spawned the server ends, and test threads end early.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A folder of its own, removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = WATCHDOG.folder.join(format!("{name}-{number}"));
        create(&path);
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.path.join(name);
        fs::write(&file, content).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, the watchdog removes when the process ends.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// From now on the process with this id dies with the test process.
pub(crate) fn watch(pid: u32) {
    WATCHDOG.tell("watch", pid);
}

/// The process was reaped; its id may soon belong to somebody else.
pub(crate) fn forget(pid: u32) {
    WATCHDOG.tell("forget", pid);
}

struct Watchdog {
    folder: PathBuf,
    shell: Mutex<Child>,
}

impl Watchdog {
    fn start() -> Self {
        let folder = root().join(format!(
            "cache-tests-{}-{:x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        create(&folder);
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: whoever kills the group of the tests must not kill the one who tidies up.
            .process_group(0)
            .spawn()
            .expect("/bin/sh exists on every machine these tests support");
        Self {
            folder,
            shell: Mutex::new(shell),
        }
    }

    fn tell(&self, verb: &str, what: impl Display) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        // One write, so that a kill in between cannot leave half a line.
        let line = format!("{verb} {what}\n");
        let told = shell.stdin.as_mut().map(|pipe| pipe.write_all(line.as_bytes()));
        assert!(
            matches!(told, Some(Ok(()))),
            "the watchdog process has died: servers could be left behind"
        );
    }
}

fn create(folder: &Path) {
    // Keys and passwords lie in here.
    let created = fs::DirBuilder::new().mode(0o700).create(folder);
    created.unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
}

/// A unix socket's path may have 107 bytes, so a long `TMPDIR` cannot be used.
fn root() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= 50 {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}

static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::start);

const SCRIPT: &str = r#"
pids=
while read -r verb pid; do
    case $verb in
        watch) pids="$pids $pid" ;;
        forget)
            rest=
            for known in $pids; do [ "$known" = "$pid" ] || rest="$rest $known"; done
            pids=$rest ;;
    esac
done
for pid in $pids; do kill -9 "$pid"; done
rm -rf -- "$1"
"#;
