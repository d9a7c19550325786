//! Settings of a server, and its first start.

use std::sync::Mutex;
use std::time::Duration;

use super::{CONFIG_FILE, Credentials, Kind, LOG_FILE, Readiness, RedisServer, SOCKET_FILE, spawn};
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::tls::{Certificates, ServerCertificate};

/// Settings of a [`RedisServer`]; see [`RedisServer::builder`].
#[derive(Debug, Clone)]
pub struct RedisServerBuilder {
    kind: Kind,
    credentials: Credentials,
    tls: Option<ServerCertificate>,
    client_certificate: bool,
    loading: Option<Duration>,
    lines: Vec<String>,
}

impl RedisServerBuilder {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            credentials: Credentials::default(),
            tls: None,
            client_certificate: false,
            loading: None,
            lines: Vec::new(),
        }
    }

    /// A password for the default user. It appears in [`RedisServer::url`] as it is, so use letters and digits.
    pub fn password(mut self, password: &str) -> Self {
        self.credentials = Credentials {
            user: String::new(),
            password: password.to_owned(),
        };
        self.option("requirepass", password)
    }

    /// A user with exactly the given ACL rules (`"~app:* &app:* +get +set"`); the default user is switched off.
    pub fn user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.credentials = Credentials {
            user: name.to_owned(),
            password: password.to_owned(),
        };
        self.option("user", "default off")
            .option("user", &format!("{name} on >{password} {rules}"))
    }

    /// TLS on the port, and nothing else there.
    pub fn tls(mut self, certificate: ServerCertificate) -> Self {
        self.tls = Some(certificate);
        self
    }

    /// Clients must show [`Certificates::client`].
    pub fn require_client_certificate(mut self) -> Self {
        self.client_certificate = true;
        self
    }

    /// Every write that needs memory is refused with OOM.
    pub fn out_of_memory(self) -> Self {
        self.option("maxmemory", "1")
            .option("maxmemory-policy", "noeviction")
    }

    /// At most this many clients; the harness is not one of them as long as it has one connection only
    /// (no [`RedisServer::cli`], no [`RedisServer::monitor`]).
    pub fn max_clients(self, count: usize) -> Self {
        self.option("maxclients", &(count + 1).to_string())
    }

    /// Clients get LOADING for about this long after the start.
    pub fn loading_for(mut self, duration: Duration) -> Self {
        self.loading = Some(duration);
        self
    }

    /// A replica; writes get READONLY. [`RedisServer::wait_ready`] waits for the link.
    pub fn replica_of(self, master: &RedisServer) -> Self {
        self.option("replicaof", &format!("127.0.0.1 {}", master.port()))
    }

    /// As a replica without a link to its master, answer MASTERDOWN.
    pub fn refuse_stale_reads(self) -> Self {
        self.option("replica-serve-stale-data", "no")
    }

    /// The number of databases; 16 by default.
    pub fn databases(self, count: u32) -> Self {
        self.option("databases", &count.to_string())
    }

    /// Any other line of the configuration file.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is missing or refuses the settings.
    pub fn start(self) -> RedisServer {
        for _ in 0..PORT_ATTEMPTS {
            let server = self.spawn();
            if server.await_start(Readiness::Ready) {
                if let Some(duration) = self.loading {
                    server.restart_loading(duration);
                }
                return server;
            }
            let log = server.log();
            assert!(
                log.contains("Address already in use"),
                "redis-server ended:\n{log}\n{:#?}",
                self.lines
            );
        }
        panic!("{PORT_ATTEMPTS} ports in a row were taken between the look and the start");
    }

    fn spawn(&self) -> RedisServer {
        let (port, bus) = match self.kind {
            Kind::ClusterNode => {
                let (port, bus) = Port::reserve_with_bus();
                (port, Some(bus))
            }
            Kind::Data | Kind::Sentinel => (Port::reserve(), None),
        };
        let folder = Scratch::new("redis");
        let certificates = self.tls.map(|kind| Certificates::issue(kind, &folder));
        folder.write(
            CONFIG_FILE,
            &self.config(&folder, port.number(), certificates.as_ref()),
        );
        RedisServer {
            process: Mutex::new(spawn(self.kind, &folder, &[])),
            admin: Mutex::new(None),
            credentials: self.credentials.clone(),
            certificates,
            kind: self.kind,
            folder,
            port,
            _bus: bus,
        }
    }

    fn config(&self, folder: &Scratch, port: u16, certificates: Option<&Certificates>) -> String {
        let path = |name: &str| format!("\"{}\"", folder.path().join(name).display());
        let mut lines = vec![COMMON.to_owned()];
        if self.kind != Kind::Sentinel {
            lines.push(DATA.to_owned());
        }
        if self.kind == Kind::ClusterNode {
            lines.push(CLUSTER.to_owned());
        }
        lines.push(format!(
            "dir {}\nlogfile {}\nunixsocket {}",
            path("."),
            path(LOG_FILE),
            path(SOCKET_FILE)
        ));
        match certificates {
            Some(certificates) => lines.push(self.tls_config(port, certificates)),
            None => lines.push(format!("port {port}")),
        }
        lines.extend_from_slice(&self.lines);
        lines.join("\n") + "\n"
    }

    fn tls_config(&self, port: u16, files: &Certificates) -> String {
        let clients = if self.client_certificate { "yes" } else { "no" };
        format!(
            "port 0\ntls-port {port}\ntls-cert-file \"{}\"\ntls-key-file \"{}\"\ntls-ca-cert-file \"{}\"\n\
             tls-auth-clients {clients}",
            files.server_file.display(),
            files.server_key_file.display(),
            files.authority_file.display(),
        )
    }
}

/// The harness is a user of its own, also between servers, so that a test may do to the other users what it likes.
const COMMON: &str = "\
bind 127.0.0.1
protected-mode no
user harness on >harness ~* &* +@all";

/// Nothing is persisted unless a test saves; replicas link up at once; DEBUG serves as a switch for faults.
const DATA: &str = "\
save \"\"
rdbcompression no
repl-diskless-sync yes
repl-diskless-sync-delay 0
masteruser harness
masterauth harness
enable-debug-command yes";

const CLUSTER: &str = "\
cluster-enabled yes
cluster-node-timeout 2000
cluster-replica-validity-factor 0";

const PORT_ATTEMPTS: usize = 10;
