//! One load across the fleet: the miss script, renewal, the last script. Named locks and claims.

use std::time::Duration;

use cache_core::shared::{
    AcquireRequest, Acquisition, Ending, LeaseAnswer, LeaseRequest, LockKind, Refuse, Token, Verdict,
};
use support::{Fault, FaultProxy, wait_until};

use super::{BUDGET, LOCK, ask, asking, commit, open, open_url, read, restricted, set};

/// The script of docs/redis.md.
fn script_of_the_docs() -> String {
    let page = include_str!("../../../docs/redis.md");
    let (_, after) = page.split_once("```lua\n").unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn programs_without_the_toolkit_invalidate_with_the_documented_script() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "one").await;
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let request = LeaseRequest {
        refuse: Refuse::Any,
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(running) = ask(&tier, request).await else {
        panic!("whatever is there is refused")
    };
    let keys = ["m:a", "{m:a}:l", "{m:a}:e", "{m:a}:g", "{m}:log"];
    let script = script_of_the_docs();
    let mut words = vec!["EVAL", script.as_str(), "5"];
    words.extend(keys);
    words.extend(["0123456789abcdef", "7"]);
    let reply = server.command(&words);
    assert_eq!(reply.error(), None);
    assert_eq!(read(&tier, "m:a").await, None);
    let version = cache_core::shared::Version::from_bytes(*b"0123456789abcdef");
    let doomed = commit(&tier, "m:a", &running, "old").await;
    assert_eq!(doomed.verdict, Verdict::Superseded(Some(version)));
    let notice = loop {
        if let cache_core::shared::LogEvent::Notices(mut notices) = reader.next().await.unwrap() {
            break notices.remove(0);
        }
    };
    assert_eq!(notice.source, None);
    let keys = vec![("m:a".to_owned(), version)];
    assert_eq!(
        notice.event,
        cache_core::notice::Event::Keys(cache_core::notice::Op::Remove, keys)
    );
}

/// B8.6, B12.9
#[tokio::test]
async fn a_lost_subscription_says_so_and_the_next_one_works() {
    let server = restricted();
    let tier = open(&server);
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    server.disconnect_clients();
    assert_eq!(waiting.next().await, None);
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    set(&tier, "m:a", "x").await;
    assert_eq!(waiting.next().await, Some(Ending::Done));
}

#[tokio::test]
async fn the_last_waiter_ends_the_subscription() {
    let server = restricted();
    let tier = open(&server);
    let channels = || server.command(&["PUBSUB", "CHANNELS"]).items().len();
    let (one, two) = (
        tier.subscribe("m:a", BUDGET).await.unwrap(),
        tier.subscribe("m:a", BUDGET).await.unwrap(),
    );
    assert_eq!(channels(), 1);
    drop(one);
    drop(two);
    wait_until(BUDGET, "nobody is subscribed", async || channels() == 0).await;
}

fn wanting(kind: LockKind, name: &str) -> AcquireRequest<'_> {
    AcquireRequest {
        kind,
        name,
        token: Token::random(),
        ttl: LOCK,
    }
}

/// B8.14
#[tokio::test]
async fn an_unclear_acquisition_is_inquired_about() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    set(&tier, "m:warm", "x").await;
    proxy.set(Fault::DelayReplies(Duration::from_millis(150)));
    let request = wanting(LockKind::Claim, "m:order:7");
    // The first question runs out of time, the second hears that the claim is there.
    let acquired = tier.acquire(request, Duration::from_millis(220)).await.unwrap();
    assert!(matches!(acquired, Acquisition::Acquired { .. }));
}
