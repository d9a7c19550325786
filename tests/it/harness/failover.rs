//! Sentinels fail over, clusters fail over and move slots.

use support::resp::{RespClient, Value};
use support::{RedisCluster, RedisServer, SentinelTrio};

use std::time::Duration;

#[test]
fn the_sentinels_agree_on_a_new_master_after_the_old_one_died() {
    let trio = SentinelTrio::start_with(|builder| builder.password("secret"));
    assert_eq!((trio.urls().len(), trio.replicas().len()), (3, 2));
    let former = trio.kill_master();
    let master = trio.wait_for_failover(former);
    assert_ne!(master.port(), former);
    assert_eq!(master.command(&["SET", "k", "v"]), Value::Simple("OK".into()));
}

#[test]
fn a_cluster_replaces_a_dead_master_and_the_returning_one_becomes_its_replica() {
    let cluster = RedisCluster::start();
    assert_eq!((cluster.urls().len(), cluster.masters().len()), (6, 3));
    let dead = cluster.kill_master_of("key");
    cluster.wait_ready();
    let successor = cluster.master_of("key");
    assert_ne!(successor.port(), dead.port());
    assert_eq!(
        successor.command(&["SET", "key", "v"]),
        Value::Simple("OK".into())
    );
    dead.restart();
    cluster.wait_ready();
    assert_eq!(cluster.slots_of(dead), 0);
}

#[test]
fn a_cluster_moves_slots_and_takes_and_gives_up_nodes() {
    let mut cluster = RedisCluster::start();
    let port = cluster.add_node().port();
    let new = cluster.nodes().iter().find(|node| node.port() == port).unwrap();
    assert_eq!(cluster.slots_of(new), 0);
    let owner = cluster.master_of("key");
    owner.command(&["SET", "key", "v"]);
    let all = cluster.slots_of(owner);
    cluster.reshard(owner, new, all);
    assert_eq!((cluster.slots_of(owner), cluster.slots_of(new)), (0, all));
    assert_eq!(cluster.master_of("key").port(), port);
    assert!(get(owner, "key").error().unwrap().starts_with("MOVED"));
    assert_eq!(get(new, "key").text(), "v");
    let empty = owner.port();
    cluster.remove_node(empty);
    assert!(cluster.nodes().iter().all(|node| node.port() != empty));
}

fn get(node: &RedisServer, key: &str) -> Value {
    let mut client = RespClient::connect(node.address(), Duration::from_secs(5)).unwrap();
    client.command(&["GET", key]).unwrap()
}
