//! The shared tier on real servers, through its port.

mod cluster;
mod connection;
mod contract;
mod faults;
mod leases;
mod log;
mod marks;
pub(crate) mod permissions;
mod sentinel;
mod values;

use std::sync::Arc;
use std::time::Duration;

use cache_core::Redis;
use cache_core::notice::Op;
use cache_core::shared::{
    Change, CommitAnswer, CommitRequest, Condition, Ending, Found, HEADER_BYTES, Lease, LeaseAnswer,
    LeaseRequest, MAGIC, Mutation, MutationAnswer, Payload, Refuse, Shared, StoredValue, TOMBSTONE, Token,
    Verdict, Version,
};
use cache_core::time::SystemClock;
use support::RedisServer;

/// For everything that is not about time.
const BUDGET: Duration = Duration::from_secs(2);
const MAX_LOAD: Duration = Duration::from_secs(60);
const PHYSICAL: Duration = Duration::from_secs(70);
const LOCK: Duration = Duration::from_secs(10);

/// A server whose user may do exactly what docs/redis.md lists.
fn restricted() -> RedisServer {
    RedisServer::builder()
        .user("cache", "pw", &permissions::rules())
        .start()
}

fn open(server: &RedisServer) -> Arc<dyn Shared> {
    open_url(&server.url())
}

fn open_url(url: &str) -> Arc<dyn Shared> {
    Redis::from_url(url).unwrap().open("m", Arc::new(SystemClock))
}

/// Bytes of a value with a version of their own.
fn value(text: &str) -> (Version, Payload) {
    let version = Version::random();
    (version, payload(version, text))
}

fn payload(version: Version, text: &str) -> Payload {
    // Stale in its last 20 seconds.
    let mut bytes = header(version, b'v', Duration::from_secs(20));
    bytes.extend_from_slice(text.as_bytes());
    Payload {
        bytes,
        physical: PHYSICAL,
    }
}

/// A tombstone that refuses stores for `hold`.
fn tombstone(version: Version, hold: Duration) -> Payload {
    Payload {
        bytes: header(version, TOMBSTONE, PHYSICAL - hold),
        physical: PHYSICAL,
    }
}

fn header(version: Version, kind: u8, quiet_below: Duration) -> Vec<u8> {
    let quiet_below = u64::try_from(quiet_below.as_millis()).unwrap();
    [
        MAGIC.as_slice(),
        version.as_bytes(),
        &[kind, 1],
        &quiet_below.to_le_bytes(),
    ]
    .concat()
}

fn text_of(value: &StoredValue) -> &str {
    std::str::from_utf8(&value.bytes[HEADER_BYTES..]).unwrap()
}

async fn found(tier: &Arc<dyn Shared>, key: &str) -> Found {
    tier.read(key, BUDGET).await.unwrap().found
}

/// The text of the value, if there is one.
async fn read(tier: &Arc<dyn Shared>, key: &str) -> Option<String> {
    match found(tier, key).await {
        Found::Value(value) => Some(text_of(&value).to_owned()),
        _ => None,
    }
}

async fn set(tier: &Arc<dyn Shared>, key: &str, text: &str) -> Version {
    let (version, payload) = value(text);
    let verdict = change(
        tier,
        key,
        version,
        Change::Set {
            payload,
            condition: Condition::Always,
        },
    )
    .await;
    assert_eq!(verdict, Verdict::Applied);
    version
}

async fn remove(tier: &Arc<dyn Shared>, key: &str) -> Version {
    remove_and_hold(tier, key, Duration::ZERO).await
}

async fn remove_and_hold(tier: &Arc<dyn Shared>, key: &str, hold: Duration) -> Version {
    let version = Version::random();
    let tombstone = tombstone(version, hold);
    let verdict = change(tier, key, version, Change::Remove { tombstone }).await;
    assert_eq!(verdict, Verdict::Applied);
    version
}

async fn change(tier: &Arc<dyn Shared>, key: &str, version: Version, change: Change) -> Verdict {
    let answer = mutate(tier, key, version, change).await;
    answer.verdicts.into_iter().next().unwrap()
}

async fn mutate(tier: &Arc<dyn Shared>, key: &str, version: Version, change: Change) -> MutationAnswer {
    let op = match change {
        Change::Set { .. } => Op::Set,
        Change::Remove { .. } => Op::Remove,
        Change::Expire { .. } => Op::Expire,
    };
    let mutation = Mutation { key, version, change };
    tier.mutate(op, vec![mutation], BUDGET).await.unwrap()
}

fn asking(key: &str) -> LeaseRequest<'_> {
    LeaseRequest {
        key,
        refuse: Refuse::Nothing,
        token: Token::random(),
        ttl: LOCK,
        consult_errors: true,
        take_over: None,
    }
}

async fn ask(tier: &Arc<dyn Shared>, request: LeaseRequest<'_>) -> LeaseAnswer {
    tier.lease(request, BUDGET).await.unwrap()
}

async fn lease(tier: &Arc<dyn Shared>, key: &str) -> Lease {
    match ask(tier, asking(key)).await {
        LeaseAnswer::Lease(lease) => lease,
        other => panic!("no lease: {other:?}"),
    }
}

fn commit_of<'a>(key: &'a str, lease: &'a Lease, store: Option<Payload>) -> CommitRequest<'a> {
    CommitRequest {
        key,
        token: Some(lease.token),
        seen: lease.seen,
        started: Some(lease.started),
        max_load: MAX_LOAD,
        fence: &lease.fence,
        store,
        record: None,
        ending: Ending::Done,
    }
}

async fn commit(tier: &Arc<dyn Shared>, key: &str, lease: &Lease, text: &str) -> CommitAnswer {
    let request = commit_of(key, lease, Some(value(text).1));
    tier.commit(request, BUDGET).await.unwrap()
}
