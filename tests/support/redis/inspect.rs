//! What a test asks a server, past everything that may be wrong with its port, users and certificates.

use std::io;
use std::process::{Command, Stdio};

use super::{HARNESS, HARNESS_LOGIN, Kind, LOG_FILE, Monitor, RedisServer, output_of};
use crate::binary;
use crate::resp::Value;

impl RedisServer {
    /// Runs `redis-cli` against it and returns what it prints.
    ///
    /// # Panics
    /// When `redis-cli` fails.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut cli = Command::new(binary::find("redis-cli"));
        cli.arg("-s")
            .arg(self.socket())
            .args(HARNESS_LOGIN)
            .args(arguments)
            .stdin(Stdio::null());
        output_of(&mut cli)
    }

    /// Sends one command as the harness.
    ///
    /// # Panics
    /// When the server does not answer. An error reply is a [`Value::Error`].
    pub fn command(&self, arguments: &[&str]) -> Value {
        let reply = self.try_command(arguments);
        reply.unwrap_or_else(|error| panic!("{arguments:?}: {error}; log:\n{}", self.log()))
    }

    /// Sends one command as the harness.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn try_command(&self, arguments: &[&str]) -> io::Result<Value> {
        let mut admin = self.admin();
        let mut client = match admin.take() {
            Some(client) => client,
            None => self.connect_admin()?,
        };
        let reply = client.command(arguments)?;
        // Kept only after a complete answer: a late one must not answer the next command.
        *admin = Some(client);
        Ok(reply)
    }

    /// Deletes everything in all databases.
    pub fn flushall(&self) {
        self.command(&["FLUSHALL"]);
    }

    /// A section of INFO.
    pub fn info(&self, section: &str) -> String {
        self.command(&["INFO", section]).text()
    }

    /// One field of INFO.
    pub fn info_field(&self, section: &str, field: &str) -> Option<String> {
        let prefix = format!("{field}:");
        self.info(section)
            .lines()
            .find_map(|line| line.strip_prefix(&prefix).map(|value| value.trim().to_owned()))
    }

    /// The keys of all databases which would stay for ever.
    pub fn keys_without_ttl(&self) -> Vec<String> {
        let databases = self.command(&["CONFIG", "GET", "databases"]).items()[1].text();
        let databases: u32 = databases.parse().expect("Redis prints a number");
        let found = (0..databases)
            .flat_map(|database| self.keys_without_ttl_in(database))
            .collect();
        self.select(0);
        found
    }

    fn keys_without_ttl_in(&self, database: u32) -> Vec<String> {
        // Cluster nodes have database 0 only, and it is selected.
        if database > 0 {
            self.select(database);
        }
        let mut found = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let page = self.command(&["SCAN", &cursor, "COUNT", "1000"]);
            let [next, keys] = page.items() else {
                panic!("SCAN answered {page:?}")
            };
            let keys = keys.items().iter().map(Value::text);
            found.extend(keys.filter(|key| self.command(&["PTTL", key]).integer() == Some(-1)));
            cursor = next.text();
            if cursor == "0" {
                return found;
            }
        }
    }

    fn select(&self, database: u32) {
        let reply = self.command(&["SELECT", &database.to_string()]);
        assert!(
            reply.error().is_none() || self.kind == Kind::ClusterNode,
            "SELECT answered {reply:?}"
        );
    }

    /// How many clients are connected, the harness, replicas and sentinels aside.
    pub fn client_connections(&self) -> usize {
        self.client_ids().len()
    }

    /// Closes the connections of all those clients from the server's side.
    pub fn disconnect_clients(&self) {
        for id in self.client_ids() {
            // A client which left meanwhile is an error reply, and that is fine.
            self.command(&["CLIENT", "KILL", "ID", &id]);
        }
    }

    fn client_ids(&self) -> Vec<String> {
        let clients = self.command(&["CLIENT", "LIST"]).text();
        let foreign = clients
            .lines()
            .filter(|line| !line.contains(&format!(" user={HARNESS} ")));
        foreign
            .filter_map(|line| Some(line.strip_prefix("id=")?.split_once(' ')?.0.to_owned()))
            .collect()
    }

    /// Records every command that clients send from now on.
    pub fn monitor(&self) -> Monitor<'_> {
        Monitor::start(self)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG_FILE)).unwrap_or_default()
    }
}
