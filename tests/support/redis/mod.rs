//! A real `redis-server` of its own for a test.

mod builder;
mod cluster;
mod inspect;
mod monitor;
mod sentinel;

pub use builder::RedisServerBuilder;
pub use cluster::RedisCluster;
pub use monitor::{Monitor, MonitoredCommand};
pub use sentinel::SentinelTrio;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::binary;
use crate::ports::Port;
use crate::process::Process;
use crate::resp::{RespClient, Value};
use crate::scratch::Scratch;
use crate::tls::Certificates;
use crate::wait::{holds_within, wait_until_blocking};

/// A running server, killed on drop.
///
/// The harness itself talks to it over a unix socket and as a user of its own, so its commands work whatever
/// happens to the port, the password, the certificates and the users of the test.
#[derive(Debug)]
pub struct RedisServer {
    // Killed before its folder is removed and its port is given back.
    process: Mutex<Process>,
    admin: Mutex<Option<RespClient>>,
    credentials: Credentials,
    certificates: Option<Certificates>,
    kind: Kind,
    folder: Scratch,
    port: Port,
    _bus: Option<Port>,
}

/// What a client says about itself.
#[derive(Debug, Clone, Default)]
struct Credentials {
    user: String,
    password: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    ClusterNode,
    Sentinel,
}

/// When a server counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    Loading,
}

impl RedisServer {
    /// A plain server: no password, no TLS, no persistence.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with settings of its own.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::new(Kind::Data)
    }

    // ── how clients reach it ──────────────────────────────────────────────────────────────────────────────

    /// `redis://…` or `rediss://…`, with user and password if the server has them.
    pub fn url(&self) -> String {
        self.url_via(self.address())
    }

    /// The same through another address, such as a proxy's.
    pub fn url_via(&self, address: SocketAddr) -> String {
        let scheme = if self.certificates.is_some() {
            "rediss"
        } else {
            "redis"
        };
        format!("{scheme}://{}{address}/", self.credentials.in_url())
    }

    /// `unix://…`, the server's socket.
    pub fn unix_url(&self) -> String {
        let Credentials { user, password } = &self.credentials;
        let path = self.socket();
        match (user.is_empty(), password.is_empty()) {
            (_, true) => format!("unix://{}", path.display()),
            (true, false) => format!("unix://{}?pass={password}", path.display()),
            (false, false) => format!("unix://{}?user={user}&pass={password}", path.display()),
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The certificates of a TLS server.
    ///
    /// # Panics
    /// Without TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates
            .as_ref()
            .expect("the server was built with `tls(..)`")
    }

    // ── what happens to it ────────────────────────────────────────────────────────────────────────────────

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Whether the process exists (it may be frozen).
    pub fn is_running(&self) -> bool {
        self.process().is_running()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) {
        self.process().kill();
        *self.admin() = None;
    }

    /// SIGSTOP: connections stay open, nobody answers.
    pub fn freeze(&self) {
        self.process().freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process().thaw();
    }

    /// Starts it again on the same port with the files it had; kills it before if it runs.
    pub fn restart(&self) {
        self.restart_with(&[], Readiness::Ready);
    }

    /// Saves, then restarts with a load that takes about `duration`, in which clients get LOADING.
    /// Returns as soon as it answers at all.
    pub fn restart_loading(&self, duration: Duration) {
        // Many keys, each larger than the interval at which a loading server looks at its clients.
        self.command(&["DEBUG", "POPULATE", &LOADED_KEYS.to_string(), "loaded", "1500"]);
        self.command(&["SAVE"]);
        let delay = (duration / LOADED_KEYS).as_micros().to_string();
        let slowly = [
            "--key-load-delay",
            &delay,
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        self.restart_with(&slowly, Readiness::Loading);
    }

    /// Ends a slow load at once, however long it would have taken, and waits until it is ready.
    pub fn finish_loading(&self) {
        // Permitted while it loads, and read anew for every key.
        self.command(&["CONFIG", "SET", "key-load-delay", "0"]);
        self.wait_ready();
    }

    /// Waits until it has loaded its data and, as a replica, has a link to its master.
    pub fn wait_ready(&self) {
        wait_until_blocking(LOAD_TIME, "the server is ready", || {
            self.answers(Readiness::Ready) && !self.info("replication").contains("master_link_status:down")
        });
    }

    fn restart_with(&self, extra: &[&str], readiness: Readiness) {
        self.kill();
        // The port is reserved among tests, but somebody else may hold it for a moment.
        let started = (0..RESTART_ATTEMPTS).any(|_| {
            *self.process() = spawn(self.kind, &self.folder, extra);
            self.await_start(readiness)
        });
        assert!(started, "the server does not start again: {}", self.log());
    }

    /// `false` when it ended instead.
    fn await_start(&self, readiness: Readiness) -> bool {
        let decided = holds_within(START_TIME, || !self.is_running() || self.answers(readiness));
        assert!(decided, "the server neither answers nor ends: {}", self.log());
        self.is_running()
    }

    fn answers(&self, readiness: Readiness) -> bool {
        match self.try_command(&["PING"]) {
            Ok(Value::Error(error)) => readiness == Readiness::Loading || !error.starts_with("LOADING"),
            Ok(_) => true,
            Err(_) => false,
        }
    }

    // ── how the harness reaches it ────────────────────────────────────────────────────────────────────────

    fn connect_admin(&self) -> io::Result<RespClient> {
        let mut client = RespClient::connect_unix(&self.socket(), ANSWER_TIME)?;
        match client.command(&["AUTH", HARNESS, HARNESS])? {
            Value::Error(error) => Err(io::Error::other(error)),
            _ => Ok(client),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET_FILE)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admin(&self) -> MutexGuard<'_, Option<RespClient>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials {
    fn in_url(&self) -> String {
        let Self { user, password } = self;
        if password.is_empty() {
            String::new()
        } else {
            format!("{user}:{password}@")
        }
    }
}

fn spawn(kind: Kind, folder: &Scratch, extra: &[&str]) -> Process {
    // A socket left by a killed server must not be taken for the new one's.
    let _ = std::fs::remove_file(folder.path().join(SOCKET_FILE));
    let mut command = Command::new(binary::find("redis-server"));
    command.arg(folder.path().join(CONFIG_FILE));
    if kind == Kind::Sentinel {
        command.arg("--sentinel");
    }
    command.args(extra).current_dir(folder.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn(&mut command).unwrap_or_else(|error| panic!("redis-server: {error}"))
}

fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}{errors}");
    text
}

/// Name and password of the harness on every server it starts.
const HARNESS: &str = "harness";
const HARNESS_LOGIN: [&str; 5] = ["--user", HARNESS, "--pass", HARNESS, "--no-auth-warning"];

const CONFIG_FILE: &str = "redis.conf";
const LOG_FILE: &str = "redis.log";
const SOCKET_FILE: &str = "redis.sock";

/// Generous: a loaded CI machine starts six servers at once.
const START_TIME: Duration = Duration::from_secs(20);
const LOAD_TIME: Duration = Duration::from_secs(60);
const ANSWER_TIME: Duration = Duration::from_secs(10);
const RESTART_ATTEMPTS: usize = 20;
const LOADED_KEYS: u32 = 2_000;
