//! Three masters with a replica each.

use std::process::Command;
use std::time::Duration;

use super::{HARNESS_LOGIN, Kind, RedisServer, RedisServerBuilder, output_of};
use crate::binary;
use crate::wait::wait_until_blocking;

/// A cluster of six nodes; a dead master is replaced after about four seconds.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    builder: RedisServerBuilder,
}

/// One line of CLUSTER NODES.
#[derive(Debug)]
struct Entry {
    id: String,
    port: u16,
    master: bool,
    failed: bool,
    slots: u32,
}

impl RedisCluster {
    /// Starts six nodes and waits until all slots are served and every master has its replica.
    pub fn start() -> Self {
        Self::start_with(|builder| builder)
    }

    /// As [`start`](Self::start), with settings for all nodes.
    pub fn start_with(configure: impl FnOnce(RedisServerBuilder) -> RedisServerBuilder) -> Self {
        let builder = configure(RedisServerBuilder::new(Kind::ClusterNode));
        let nodes: Vec<RedisServer> = (0..6).map(|_| builder.clone().start()).collect();
        let cluster = Self { nodes, builder };
        let addresses: Vec<String> = cluster.nodes.iter().map(address).collect();
        let addresses = addresses.iter().map(String::as_str);
        manage(
            &["create"]
                .into_iter()
                .chain(addresses)
                .chain(["--cluster-replicas", "1"])
                .collect::<Vec<_>>(),
        );
        cluster.wait_ready();
        cluster.nodes.iter().for_each(RedisServer::wait_ready);
        cluster
    }

    /// The URLs of the nodes that run.
    pub fn urls(&self) -> Vec<String> {
        self.running().map(RedisServer::url).collect()
    }

    /// All nodes, dead ones included, in the order in which they were started.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The nodes that serve slots now.
    pub fn masters(&self) -> Vec<&RedisServer> {
        let serving: Vec<u16> = self
            .entries()
            .iter()
            .filter(|entry| entry.serves())
            .map(|entry| entry.port)
            .collect();
        self.nodes
            .iter()
            .filter(|node| serving.contains(&node.port()))
            .collect()
    }

    /// The node which serves the slot of `key` now.
    pub fn master_of(&self, key: &str) -> &RedisServer {
        let slot = self
            .any()
            .command(&["CLUSTER", "KEYSLOT", key])
            .integer()
            .expect("KEYSLOT answers a number");
        let ranges = self.any().command(&["CLUSTER", "SLOTS"]);
        let range = ranges.items().iter().find(|range| {
            let bound = |index: usize| {
                range.items()[index]
                    .integer()
                    .expect("a range begins with two numbers")
            };
            (bound(0)..=bound(1)).contains(&slot)
        });
        let range = range.unwrap_or_else(|| panic!("slot {slot} has no owner"));
        let port = range.items()[2].items()[1]
            .integer()
            .expect("a node is an address, a port and an id");
        self.node(u16::try_from(port).expect("a port has 16 bits"))
    }

    /// SIGKILL to the master of `key`; returns it, for a later restart.
    pub fn kill_master_of(&self, key: &str) -> &RedisServer {
        let master = self.master_of(key);
        master.kill();
        master
    }

    /// Waits until all nodes that run agree that all slots are served, by nodes that run.
    pub fn wait_ready(&self) {
        wait_until_blocking(
            CONVERGENCE,
            "all slots are served and every node knows by whom",
            || self.running().all(|node| self.is_settled(node)) && self.views_agree(),
        );
    }

    /// Moves `count` slots; they keep being served meanwhile. Returns when all nodes know.
    pub fn reshard(&self, from: &RedisServer, to: &RedisServer, count: u32) {
        let (source, target) = (self.id_of(from), self.id_of(to));
        let count = count.to_string();
        let slots = [
            "--cluster-from",
            &source,
            "--cluster-to",
            &target,
            "--cluster-slots",
            &count,
        ];
        manage(
            &["reshard", &address(self.any())]
                .into_iter()
                .chain(slots)
                .collect::<Vec<_>>(),
        );
        self.wait_ready();
    }

    /// Starts one more node and makes it a master without slots.
    pub fn add_node(&mut self) -> &RedisServer {
        let node = self.builder.clone().start();
        manage(&["add-node", &address(&node), &address(self.any())]);
        self.nodes.push(node);
        self.wait_ready();
        self.nodes.last().expect("pushed three lines above")
    }

    /// Takes a replica, or a master without slots, out of the cluster and stops it.
    pub fn remove_node(&mut self, port: u16) {
        let index = self
            .nodes
            .iter()
            .position(|node| node.port() == port)
            .expect("a node of this cluster");
        let node = self.nodes.remove(index);
        let id = id_seen_by(&node);
        manage(&["del-node", &address(self.any()), &id]);
        drop(node);
        self.wait_ready();
    }

    /// The number of slots a node serves now.
    pub fn slots_of(&self, node: &RedisServer) -> u32 {
        self.entry(node).slots
    }

    fn id_of(&self, node: &RedisServer) -> String {
        self.entry(node).id
    }

    fn entry(&self, node: &RedisServer) -> Entry {
        let entry = self.entries().into_iter().find(|entry| entry.port == node.port());
        entry.expect("a node of this cluster is known to the others")
    }

    fn entries(&self) -> Vec<Entry> {
        entries_of(self.any())
    }

    fn is_settled(&self, node: &RedisServer) -> bool {
        let Ok(info) = node.try_command(&["CLUSTER", "INFO"]) else {
            return false;
        };
        let info = info.text();
        let runs = |entry: &Entry| self.running().any(|node| node.port() == entry.port);
        info.contains("cluster_state:ok")
            && info.contains("cluster_slots_ok:16384")
            && entries_of(node).iter().filter(|entry| entry.serves()).all(runs)
    }

    /// All nodes that run give the same slots to the same nodes, and nobody knows a node the others do not.
    fn views_agree(&self) -> bool {
        let view = |node: &RedisServer| {
            let mut view: Vec<_> = entries_of(node)
                .iter()
                .map(|entry| (entry.port, entry.master, entry.slots))
                .collect();
            view.sort_unstable();
            view
        };
        let mut views = self.running().map(view);
        let first = views.next().unwrap_or_default();
        views.all(|view| view == first)
    }

    fn node(&self, port: u16) -> &RedisServer {
        let node = self.nodes.iter().find(|node| node.port() == port);
        node.unwrap_or_else(|| panic!("no node of this cluster listens on {port}"))
    }

    fn any(&self) -> &RedisServer {
        self.running().next().expect("a node runs")
    }

    fn running(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_running())
    }
}

impl Entry {
    fn serves(&self) -> bool {
        self.master && !self.failed && self.slots > 0
    }

    /// `id 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 5462 [5461->-id]`
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [id, address, flags, _, _, _, _, _, slots @ ..] = fields.as_slice() else {
            return None;
        };
        let (address, _bus) = address.split_once('@')?;
        let (_, port) = address.rsplit_once(':')?;
        let has = |flag: &str| flags.split(',').any(|other| other == flag);
        Some(Self {
            id: (*id).to_owned(),
            port: port.parse().ok()?,
            master: has("master"),
            failed: has("fail"),
            slots: slots.iter().filter_map(|range| range_length(range)).sum(),
        })
    }
}

/// Of `0-5460` or `5462`; a slot on the move, in brackets, is listed with its owner's ranges already.
fn range_length(range: &str) -> Option<u32> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some(last.parse::<u32>().ok()? - first.parse::<u32>().ok()? + 1)
}

fn entries_of(node: &RedisServer) -> Vec<Entry> {
    let nodes = node
        .try_command(&["CLUSTER", "NODES"])
        .map(|reply| reply.text())
        .unwrap_or_default();
    nodes.lines().filter_map(Entry::parse).collect()
}

fn id_seen_by(node: &RedisServer) -> String {
    node.command(&["CLUSTER", "MYID"]).text()
}

fn address(node: &RedisServer) -> String {
    node.address().to_string()
}

fn manage(arguments: &[&str]) {
    let mut cli = Command::new(binary::find("redis-cli"));
    cli.args(HARNESS_LOGIN)
        .arg("--cluster")
        .args(arguments)
        .arg("--cluster-yes");
    output_of(&mut cli);
}

const CONVERGENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cluster_nodes_is_taken_apart() {
        let line = "07c3 127.0.0.1:13000@23000 myself,master - 0 0 1 connected 0-5460 5462 [5461->-ab12]";
        let entry = Entry::parse(line).unwrap();
        assert_eq!(
            (entry.id.as_str(), entry.port, entry.slots),
            ("07c3", 13000, 5462)
        );
        assert!(entry.serves());
    }

    #[test]
    fn a_failed_master_serves_nothing() {
        let line = "07c3 127.0.0.1:13000@23000 master,fail - 0 0 1 disconnected 0-5460";
        assert!(!Entry::parse(line).unwrap().serves());
    }
}
