//! A secret is used, and nowhere seen: not in what is shown, said or logged, whoever holds it and however it fails.

use cache_core::codec::MacKeys;
use cache_core::config::Config;
use cache_core::redis::Tls;
use cache_core::time::minutes;
use cache_core::{Cache, CacheKey, EntryOptions, Redis, Secret};
use serde_json::json;
use support::{Canary, LogCapture, RedisServer, ServerCertificate};

/// Everything that a cache on this Redis tells about itself.
async fn told(redis: Redis) -> String {
    let mut told = format!("{redis:?} {redis:#?}");
    let cache = Cache::builder("m").redis(redis).build();
    told.push_str(&format!("{cache:?}"));
    let cache = cache.unwrap();
    let key = CacheKey::build("user", 1_u64).unwrap();
    for n in 0..8 {
        let options = EntryOptions::ttl(minutes(5));
        let loaded = cache
            .get_or_load(&key, options.clone(), move |_| async move {
                Err::<u32, _>(format!("no {n}"))
            })
            .await;
        told.push_str(&format!("{loaded:?} {:?}", cache.set(&key, n, options).await));
        told.push_str(&format!("{:?}", cache.remove(&key).await));
    }
    told.push_str(&format!(
        "{:?} {:?}",
        cache.invalidate_tag("t").await,
        cache.server().await
    ));
    let (stats, health, doctor) = (cache.stats(), cache.health(), cache.doctor().await);
    told.push_str(&format!(
        "{stats:?} {health:?} {doctor:?} {cache:?} {:?}",
        stats.samples()
    ));
    told.push_str(&json!([stats, health, doctor]).to_string());
    told.push_str(&format!("{:?}", cache.close(minutes(0)).await));
    told
}

fn at(url: &str) -> Redis {
    Redis::from_url(url).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_seen_wherever_it_stands_and_however_it_is_refused() {
    let log = LogCapture::start();
    let canary = Canary::new();
    let secret = canary.secret();
    let open = RedisServer::start();
    let closed = RedisServer::builder().password("right").start();
    let of_acl = RedisServer::builder()
        .user("cache", secret, "~* &* +@all")
        .start();
    let (open, closed, of_acl) = (open.address(), closed.address(), of_acl.address());
    let places = [
        at(&format!("redis://u:{secret}@127.0.0.1:1/0")),
        at(&format!("redis://u:{secret}@{open}")),
        at(&format!("redis://:{secret}@{closed}")),
        at(&format!("redis://cache:{secret}@{of_acl}")),
        at(&format!("redis://other:{secret}@{of_acl}")),
        at(&format!("redis://{of_acl}"))
            .username("cache")
            .password(secret),
        at(&format!("redis://{closed}")).password(Secret::from(secret)),
        Redis::sentinel("m", [format!("redis://u:{secret}@{open}")]).unwrap(),
        Redis::sentinel("m", [format!("redis://:{secret}@{closed}")])
            .unwrap()
            .password(secret),
        Redis::cluster([format!("redis://u:{secret}@{closed}")]).unwrap(),
        at(&format!("rediss://u:{secret}@{open}")),
    ];
    for (n, redis) in places.into_iter().enumerate() {
        canary.assert_absent(&format!("what place {n} tells"), &told(redis).await);
    }
    for wrong in [
        "redis://u:{}@h:port",
        "http://u:{}@h",
        "redis://u:{}@",
        "redis://u:{}@h/x",
        "redis://h/0?password={}",
        "{}",
    ] {
        let error = Redis::from_url(&wrong.replace("{}", secret));
        canary.assert_absent(wrong, &format!("{error:?}"));
    }
    canary.assert_absent("the log", &log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_seen_neither_of_tls_nor_of_signatures() {
    let log = LogCapture::start();
    let server = RedisServer::builder().tls(ServerCertificate::Valid).start();
    let files = server.certificates();
    let key = files.client_key.to_string();
    let tls = Tls::trusting(files.authority.as_str()).unwrap();
    let good = tls
        .clone()
        .client_certificate(files.client.as_str(), key.as_str())
        .unwrap();
    let mut said = format!("{good:?}");
    said.push_str(&told(at(&server.url()).tls(good)).await);
    // Cut off, of another kind, and no key at all.
    for wrong in [&key[..key.len() / 2], files.client.as_str(), "canary-of-a-key"] {
        let refused = tls.clone().client_certificate(files.client.as_str(), wrong);
        said.push_str(&format!("{refused:?}"));
    }
    said.push_str(&log.text());
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!lines.is_empty());
    for line in lines.into_iter().chain(["canary-of-a-key"]) {
        assert!(!said.contains(line), "a line of the key is told");
    }

    let canary = Canary::new();
    let mut bytes = [0; 32];
    let secret = canary.secret().as_bytes();
    bytes[..secret.len()].copy_from_slice(secret);
    let keys = MacKeys::new(bytes).unwrap();
    let shown = format!("{keys:?}");
    let cache = Cache::builder("m")
        .redis(at(&server.url()))
        .signatures(keys)
        .build();
    canary.assert_absent("signatures", &format!("{shown} {cache:?} {}", log.text()));
}

#[test]
fn no_configuration_shows_what_it_holds() {
    let canary = Canary::new();
    let config = json!({
        "redis": {"url": format!("redis://u:{0}@h/0?x={0}", canary.secret()), "password": canary.secret()},
        "caches": {"m": {"redis": {"cluster": {"urls": [format!("redis://:{}@h", canary.secret())]}}}},
    });
    let read = Config::sources().json(&config.to_string()).unwrap().read();
    canary.assert_absent(
        "a configuration",
        &format!("{read:?} {}", json!(read.as_ref().ok())),
    );
    let built = read.and_then(|config| config.build());
    canary.assert_absent("what is built of it", &format!("{built:?}"));
    for place in [
        json!({"redis": null}),
        json!({"caches": {"m": null}}),
        json!({"policies": null}),
    ] {
        let mut wrong = place;
        fill(&mut wrong, &json!(format!("redis://u:{}@h", canary.secret())));
        let refused = Config::sources().json(&wrong.to_string()).unwrap().read();
        canary.assert_absent("a refusal", &format!("{:?}", refused.unwrap_err()));
    }
}

/// Puts `value` where there is nothing.
fn fill(tree: &mut serde_json::Value, value: &serde_json::Value) {
    match tree {
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, value)),
        nothing => *nothing = value.clone(),
    }
}
