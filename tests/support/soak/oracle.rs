//! S2: nobody reads what was superseded while all is well.

use std::sync::Arc;
use std::time::Duration;

use cache_core::time::seconds;

use super::fleet::{hearing_node, undelivered};
use super::world::{Shape, World};
use super::{Findings, Run, Tally};
use crate::redis::RedisServer;

pub(super) async fn run(run: &Run, tally: &Arc<Tally>) -> Findings {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    let world = Arc::new(World::shaped(run.seed, nodes, SHAPE, tally.clone()));
    world.run(tokio::time::sleep(run.length)).await;
    let mut findings = world.findings(run.within(seconds(1)));
    let reads = world.fleet();
    // The oracle tells powers of two: the bucket above 100 ms.
    findings.within(
        "99.9 % of the reads on other nodes were superseded for less than",
        reads.quantile(0.999),
        run.within(Duration::from_millis(128)),
    );
    findings.never(
        "invalidations not delivered at the end",
        undelivered(world.nodes(), seconds(5)).await,
    );
    findings
}

const SHAPE: Shape = Shape {
    keys: 1_000,
    readers: 50,
    rest: Duration::from_millis(40),
};
