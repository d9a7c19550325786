//! Callers that leave: nothing of what they began stays behind.

use super::*;

/// The keys of all locks, of loads and named ones, and of claims.
fn locks(redis: &RedisServer) -> Vec<String> {
    let keys = redis.command(&["KEYS", "{*}:[lxc]"]);
    keys.items().iter().map(support::resp::Value::text).collect()
}

async fn all_locks_are_given_back(redis: &RedisServer) {
    let began = support::Stopwatch::start();
    while !locks(redis).is_empty() {
        let left = locks(redis);
        assert!(began.elapsed() < Duration::from_secs(3), "still held: {left:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Drops a future after some polls of the runtime.
async fn dropped_after<F: IntoFuture>(micros: u64, work: F) {
    let _ = tokio::time::timeout(Duration::from_micros(micros), work).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_holds_no_lock_back() {
    let redis = RedisServer::start();
    let proxy = support::FaultProxy::start(redis.address());
    let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    proxy.set(support::Fault::DelayReplies(Duration::from_millis(20)));
    for n in 0..20 {
        // In the caller: it is dropped while it reads, takes the lease, loads, or stores.
        let item = key(n);
        let load = cache.get_or_load_borrowed(&item, hours(1), |_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>(n)
        });
        dropped_after(n * 5_000, load).await;
        dropped_after(n * 2_000, cache.try_lock("l", hours(1))).await;
        let claimed = tokio::time::timeout(Duration::from_micros(n * 2_000), cache.claim(&item, hours(1)));
        // A claim that was given keeps its lease.
        if let Ok(Ok(Some(claim))) = claimed.await {
            claim.release().await;
        }
    }
    proxy.heal();
    all_locks_are_given_back(&redis).await;
    let lock = cache.lock("l", seconds(5), seconds(5)).await.unwrap();
    // Gives up while another holds it, over and over: never gets it by accident.
    for _ in 0..5 {
        assert!(cache.lock("l", hours(1), Duration::from_millis(3)).await.is_err());
    }
    assert!(lock.release().await);
    all_locks_are_given_back(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_whose_caller_leaves_is_delivered() {
    let redis = RedisServer::start();
    let proxy = support::FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    for how in ["key", "tag", "clear", "set"] {
        let _ = b.set(&key(1), 1_u64, tagged("t")).await.unwrap();
        wait_until(Duration::from_secs(5), "a reads it", async || {
            a.get::<u64>(&key(1)).await.is_some()
        })
        .await;
        proxy.set(support::Fault::BlackHole);
        match how {
            "key" => dropped_after(2_000, a.remove(&key(1)).into_future()).await,
            "tag" => dropped_after(2_000, a.invalidate_tag("t").into_future()).await,
            "set" => dropped_after(2_000, a.set(&key(1), 2_u64, tagged("t"))).await,
            _ => dropped_after(2_000, a.clear().into_future()).await,
        }
        // The bytes of before are lost with their connections.
        proxy.reset_all();
        proxy.heal();
        assert_ne!(
            a.get::<u64>(&key(1)).await.as_deref(),
            Some(&1),
            "{how}: it holds here at once"
        );
        wait_until(
            Duration::from_secs(8),
            "the other node learns of it",
            async || b.get::<u64>(&key(1)).await.as_deref() != Some(&1),
        )
        .await;
        assert_eq!(a.flush_pending(Duration::from_secs(5)).await, 0);
    }
}
