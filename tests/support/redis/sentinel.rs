//! One master, two replicas and three sentinels which agree on them.

use std::time::Duration;

use super::{HARNESS, Kind, RedisServer, RedisServerBuilder};
use crate::resp::Value;
use crate::wait::wait_until_blocking;

/// A monitored master with two replicas; a dead master is replaced after about two seconds.
#[derive(Debug)]
pub struct SentinelTrio {
    sentinels: Vec<RedisServer>,
    servers: Vec<RedisServer>,
}

impl SentinelTrio {
    /// The name under which the sentinels know the master.
    pub const SERVICE: &str = "mymaster";

    /// Starts all six and waits until every sentinel knows all others.
    pub fn start() -> Self {
        Self::start_with(|builder| builder)
    }

    /// As [`start`](Self::start), with settings for the master and the replicas.
    pub fn start_with(configure: impl Fn(RedisServerBuilder) -> RedisServerBuilder) -> Self {
        let master = configure(RedisServer::builder()).start();
        let replica = || configure(RedisServer::builder()).replica_of(&master).start();
        let replicas = [replica(), replica()];
        replicas.iter().for_each(RedisServer::wait_ready);
        let sentinels = (0..3).map(|_| sentinel_of(&master)).collect();
        let trio = Self {
            sentinels,
            servers: [master].into_iter().chain(replicas).collect(),
        };
        wait_until_blocking(
            AGREEMENT,
            "the sentinels know each other and both replicas",
            || trio.sentinels.iter().all(knows_everybody),
        );
        trio
    }

    /// The sentinels' addresses as URLs.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Master and replicas, in no useful order.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The server which a majority of the reachable sentinels names as master.
    ///
    /// # Panics
    /// When there is no majority.
    pub fn master(&self) -> &RedisServer {
        self.agreed_master()
            .expect("a majority of the sentinels names one of our servers")
    }

    /// The servers which are not the master.
    pub fn replicas(&self) -> Vec<&RedisServer> {
        let master = self.master().port();
        self.servers
            .iter()
            .filter(|server| server.port() != master)
            .collect()
    }

    /// SIGKILL to the current master; returns its former port.
    pub fn kill_master(&self) -> u16 {
        let master = self.master();
        master.kill();
        master.port()
    }

    /// Waits until all reachable sentinels name another master than the one at `former`, and it says so itself.
    pub fn wait_for_failover(&self, former: u16) -> &RedisServer {
        wait_until_blocking(FAILOVER, "another server is master", || {
            self.agreed_master()
                .is_some_and(|master| master.port() != former && says_master(master))
        });
        self.master()
    }

    fn agreed_master(&self) -> Option<&RedisServer> {
        let named: Vec<u16> = self.sentinels.iter().filter_map(named_master).collect();
        let majority = |port: u16| named.iter().filter(|other| **other == port).count() >= QUORUM;
        self.servers.iter().find(|server| majority(server.port()))
    }
}

fn sentinel_of(master: &RedisServer) -> RedisServer {
    let service = SentinelTrio::SERVICE;
    let monitor = format!("monitor {service} 127.0.0.1 {} {QUORUM}", master.port());
    RedisServerBuilder::new(Kind::Sentinel)
        .option("sentinel", &monitor)
        .option("sentinel", &format!("auth-user {service} {HARNESS}"))
        .option("sentinel", &format!("auth-pass {service} {HARNESS}"))
        .option("sentinel", &format!("down-after-milliseconds {service} 1000"))
        .option("sentinel", &format!("failover-timeout {service} 5000"))
        .start()
}

fn knows_everybody(sentinel: &RedisServer) -> bool {
    let Ok(reply) = sentinel.try_command(&["SENTINEL", "MASTER", SentinelTrio::SERVICE]) else {
        return false;
    };
    field(&reply, "num-slaves") == Some("2".into())
        && field(&reply, "num-other-sentinels") == Some("2".into())
}

fn named_master(sentinel: &RedisServer) -> Option<u16> {
    let address = sentinel
        .try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SentinelTrio::SERVICE])
        .ok()?;
    address.items().get(1)?.text().parse().ok()
}

fn says_master(server: &RedisServer) -> bool {
    server
        .try_command(&["ROLE"])
        .is_ok_and(|role| role.items().first().is_some_and(|name| name.text() == "master"))
}

/// A value of a reply that alternates names and values.
fn field(reply: &Value, name: &str) -> Option<String> {
    reply
        .items()
        .chunks_exact(2)
        .find(|pair| pair[0].text() == name)
        .map(|pair| pair[1].text())
}

const QUORUM: usize = 2;
const AGREEMENT: Duration = Duration::from_secs(30);
const FAILOVER: Duration = Duration::from_secs(30);
