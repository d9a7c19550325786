//! What becomes of a `set` that Redis did not acknowledge.

use cache_core::KeyPattern;
use support::{Accepting, FaultProxy, LogCapture, Stopwatch};

use super::*;

fn cut(proxy: &FaultProxy) {
    proxy.accept(Accepting::Refuse);
    proxy.close_all();
}

fn heal(proxy: &FaultProxy) {
    proxy.accept(Accepting::Relay);
    proxy.heal();
}

async fn nothing_is_pending(node: &Cache) {
    wait_until(seconds(10), "nothing is pending", async || {
        let shared = node.stats().shared.unwrap();
        shared.pending_invalidations == 0 && shared.log_heard
    })
    .await;
}

/// B13.1, B13.3: it is offered again, as what it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_redis_did_not_hear_of_is_stored_when_it_is_back() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    assert_eq!(a.set(&key(1), 1_u64, tagged("t")).await.unwrap(), Stored::Yes);
    assert_eq!(b.get::<u64>(&key(1)).await.as_deref(), Some(&1));
    cut(&proxy);
    for value in [2, 3] {
        let stored = a.set(&key(1), value as u64, tagged("t")).await.unwrap();
        assert_eq!(stored, Stored::Locally);
    }
    assert_eq!(
        b.get::<u64>(&key(1)).await.as_deref(),
        Some(&1),
        "b knows nothing of it"
    );
    heal(&proxy);
    wait_until(seconds(10), "b reads what a set", async || {
        b.get::<u64>(&key(1)).await.as_deref() == Some(&3)
    })
    .await;
    assert_eq!(a.get::<u64>(&key(1)).await.as_deref(), Some(&3));
    nothing_is_pending(&a).await;
    a.invalidate_tag("t").await.unwrap();
    assert!(
        a.get::<u64>(&key(1)).await.is_none(),
        "what is stored so has its tags"
    );
}

/// B13.1, B13.3: refused, blind, expired, or followed by an invalidation.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_came_too_late_invalidates_its_key_instead() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    let hows = [
        "set elsewhere",
        "remove elsewhere",
        "tag elsewhere",
        "prefix elsewhere",
        "clear elsewhere",
        "pattern elsewhere",
        "remove",
        "tag",
        "blind",
        "expired",
        "after a removal",
    ];
    for (n, how) in hows.into_iter().enumerate() {
        let item = key(n as u64);
        let writer = if how == "blind" { &b } else { &a };
        assert!(writer.set(&item, 1_u64, tagged("t")).await.unwrap().is_stored());
        assert_eq!(b.get::<u64>(&item).await.as_deref(), Some(&1), "before {how}");
        cut(&proxy);
        if how == "after a removal" {
            a.remove(&item).await.unwrap_err();
        }
        let options = match how {
            "expired" => EntryOptions::ttl(Duration::from_millis(200)).jitter(0.0),
            _ => tagged("t"),
        };
        assert_eq!(
            a.set(&item, 2_u64, options).await.unwrap(),
            Stored::Locally,
            "{how}"
        );
        match how {
            "set elsewhere" => assert!(b.set(&item, 9_u64, tagged("t")).await.unwrap().is_stored()),
            "remove elsewhere" => b.remove(&item).await.unwrap(),
            "tag elsewhere" => b.invalidate_tag("t").await.unwrap(),
            "prefix elsewhere" => b.remove_prefix("item").await.unwrap(),
            "clear elsewhere" => b.clear().await.unwrap(),
            "pattern elsewhere" => {
                let pattern = KeyPattern::new("item").unwrap().part(n as u64);
                b.remove_matching(pattern).await.unwrap();
            }
            "remove" => a.remove(&item).await.unwrap_err().to_string().clear(),
            "tag" => a.invalidate_tag("t").await.unwrap_err().to_string().clear(),
            "expired" => {
                wait_until(seconds(5), "it has expired", async || {
                    a.get::<u64>(&item).await.is_none()
                })
                .await;
            }
            _ => {}
        }
        heal(&proxy);
        nothing_is_pending(&a).await;
        for (name, node) in [("a", &a), ("b", &b)] {
            wait_until(
                seconds(5),
                &format!("{name} has nothing, after: {how}"),
                async || node.get::<u64>(&item).await.is_none(),
            )
            .await;
        }
    }
}

/// B13.7: before a node goes, nothing waits for its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_delivers_sets_at_once() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    for n in 0..50 {
        assert!(a.set(&key(n), 1_u64, minutes(5)).await.unwrap().is_stored());
    }
    cut(&proxy);
    for n in 0..50 {
        assert_eq!(a.set(&key(n), 2_u64, minutes(5)).await.unwrap(), Stored::Locally);
    }
    heal(&proxy);
    assert_eq!(a.flush_pending(seconds(10)).await, 0);
    let b = node(&redis);
    for n in 0..50 {
        let found = b.get::<u64>(&key(n)).await;
        assert!(found.as_deref().is_none_or(|found| *found == 2), "{n}: {found:?}");
    }
}

/// B13.7, B17.2
#[tokio::test(flavor = "multi_thread")]
async fn closing_delivers_what_is_pending_or_says_how_much_it_could_not() {
    let redis = RedisServer::start();
    let b = hearing_node(&redis.url(), |node| node).await;
    for is_back in [true, false] {
        let log = LogCapture::start();
        let proxy = FaultProxy::start(redis.address());
        let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
        for n in 0..7 {
            assert!(b.set(&key(n), 1_u64, minutes(5)).await.unwrap().is_stored());
        }
        cut(&proxy);
        for n in 0..7 {
            a.remove(&key(n)).await.unwrap_err();
        }
        if is_back {
            heal(&proxy);
        }
        let began = Stopwatch::start();
        a.close(seconds(4)).await.unwrap();
        assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
        if is_back {
            for n in 0..7 {
                wait_until(seconds(2), "b hears what a said at last", async || {
                    b.get::<u64>(&key(n)).await.is_none()
                })
                .await;
            }
        } else {
            log.assert_line(&["not delivered", "undelivered=7"]);
            assert!(b.get::<u64>(&key(0)).await.is_some(), "until its TTL");
        }
    }
}
