//! Signed entries: what somebody else has written to Redis is not believed.

use cache_core::codec::MacKeys;

use super::*;

/// A node that signs with the first secret and accepts the others.
async fn signing(redis: &RedisServer, secrets: &[[u8; 32]]) -> Cache {
    let mut keys = MacKeys::new(secrets[0]).unwrap();
    for secret in &secrets[1..] {
        keys = keys.accept(secret).unwrap();
    }
    hearing_node(&redis.url(), |builder| builder.signatures(keys)).await
}

/// What stands in Redis under an entry's key.
fn stored(redis: &RedisServer, n: u64) -> String {
    format!("{}:{}", node(redis).name(), key(n).text())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_read_what_was_signed_for_them_and_secrets_rotate_without_a_miss() {
    let redis = RedisServer::start();
    let (old, new) = ([1; 32], [2; 32]);
    let before = signing(&redis, &[old]).await;
    let during = signing(&redis, &[new, old]).await;
    let after = signing(&redis, &[new]).await;
    let origin = Origin::default();
    read(&before, &origin, 1, tagged("a")).await;
    read(&during, &origin, 1, tagged("a")).await;
    assert_eq!(origin.loads(), 1, "what the old secret has signed is accepted");
    read(&during, &origin, 2, tagged("a")).await;
    read(&after, &origin, 2, tagged("a")).await;
    assert_eq!(origin.loads(), 2, "and what the new one has");
    read(&after, &origin, 1, tagged("a")).await;
    assert_eq!(
        origin.loads(),
        3,
        "but not what the old one has, where it is not known any more"
    );
    assert!(after.stats().counters.decode_errors > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_signed_or_was_moved_is_loaded_anew() {
    let redis = RedisServer::start();
    let origin = Origin::default();
    let unsigned = hearing_node(&redis.url(), |builder| builder).await;
    read(&unsigned, &origin, 1, tagged("a")).await;
    let reader = signing(&redis, &[[1; 32]]).await;
    read(&reader, &origin, 1, tagged("a")).await;
    assert_eq!(origin.loads(), 2, "unsigned");

    let writer = signing(&redis, &[[1; 32]]).await;
    read(&writer, &origin, 2, tagged("a")).await;
    redis.cli(&["COPY", &stored(&redis, 2), &stored(&redis, 3)]);
    read(&reader, &origin, 3, tagged("a")).await;
    assert_eq!(origin.loads(), 4, "signed for another key");
}
