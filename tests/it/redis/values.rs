//! Values, tombstones and absence under one key.

use cache_core::shared::{Change, Condition, Found, Verdict};

use super::{BUDGET, change, found, open, read, restricted, set, value};

#[tokio::test]
async fn many_keys_are_read_in_their_order_and_in_one_round_trip() {
    let server = restricted();
    let proxy = support::FaultProxy::start(server.address());
    let tier = super::open_url(&server.url_via(proxy.address()));
    for n in 0..100 {
        if n % 3 != 0 {
            set(&tier, &format!("m:k:{n}"), &n.to_string()).await;
        }
    }
    let keys: Vec<String> = (0..100).map(|n| format!("m:k:{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let before = proxy.counts().round_trips;
    let readings = tier.read_many(&keys, BUDGET).await.unwrap();
    assert_eq!(proxy.counts().round_trips - before, 1);
    for (n, reading) in readings.iter().enumerate() {
        match &reading.found {
            Found::Value(value) => assert_eq!(super::text_of(value), n.to_string()),
            other => assert!(n % 3 == 0 && *other == Found::Absent, "{n}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn foreign_data_is_absence_and_is_overwritten() {
    let server = restricted();
    let tier = open(&server);
    server.command(&["RPUSH", "m:list", "x"]);
    server.command(&[
        "SET",
        "m:text",
        "hello, I am somebody else's and long enough",
        "EX",
        "100",
    ]);
    server.command(&["SET", "m:short", "x", "EX", "100"]);
    for key in ["m:list", "m:text", "m:short"] {
        assert_eq!(found(&tier, key).await, Found::Foreign, "{key}");
        let (version, payload) = value("mine");
        let condition = Condition::Seen(None);
        let verdict = change(&tier, key, version, Change::Set { payload, condition }).await;
        assert_eq!(verdict, Verdict::Applied, "{key}");
        assert_eq!(read(&tier, key).await.as_deref(), Some("mine"));
    }
    server.command(&["PERSIST", "m:list"]);
    assert_eq!(
        found(&tier, "m:list").await,
        Found::Foreign,
        "without a life it is not ours"
    );
    set(&tier, "m:list", "again").await;
    assert_eq!(server.keys_without_ttl(), ["{m}:log"]);
}
