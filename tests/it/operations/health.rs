//! Degraded is not down, and a health report tells nothing that is nobody's business.

use cache_core::health::{Health, HealthStatus};
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis};
use support::{Canary, RedisServer, wait_until};

fn key(n: u64) -> CacheKey {
    CacheKey::build("user", n).unwrap()
}

async fn load(cache: &Cache, n: u64) {
    let options = EntryOptions::ttl(minutes(5));
    cache
        .get_or_load(&key(n), options, |_| async { Ok::<_, &str>(1_u32) })
        .await
        .unwrap();
}

fn status_of(health: &Health, name: &str) -> (HealthStatus, String) {
    let found = health
        .dependencies
        .iter()
        .find(|dependency| dependency.name == name);
    let found = found.unwrap_or_else(|| panic!("{name} is not in {health:?}"));
    (found.status, found.detail.clone())
}

#[tokio::test]
async fn a_cache_whose_redis_dies_is_degraded_and_ready_and_recovers() {
    let server = RedisServer::start();
    let cache = Cache::builder("h")
        .redis(Redis::from_url(&server.url()).unwrap())
        .build()
        .unwrap();
    let health = cache.health();
    assert_eq!(
        (health.status, health.connection_healthy),
        (HealthStatus::Healthy, true)
    );
    assert_eq!(status_of(&health, "redis").1, "not needed yet");

    load(&cache, 1).await;
    let heard = async || status_of(&cache.health(), "log").1 == "heard";
    wait_until(seconds(10), "the log is heard", heard).await;
    let health = cache.health();
    assert_eq!((health.status, health.ready), (HealthStatus::Healthy, true));
    assert_eq!(status_of(&health, "redis").1, "connected");

    server.kill();
    for n in 10..20 {
        load(&cache, n).await;
    }
    cache.remove(&key(1)).await.unwrap_err();
    let health = cache.health();
    assert_eq!(
        (health.status, health.live, health.ready),
        (HealthStatus::Degraded, true, true)
    );
    assert!(!health.connection_healthy && health.fallback_enabled);
    assert_eq!(status_of(&health, "memory").0, HealthStatus::Healthy);
    assert_eq!(
        status_of(&health, "breaker"),
        (HealthStatus::Degraded, "open".to_owned())
    );
    assert_eq!(
        status_of(&health, "pending_invalidations"),
        (HealthStatus::Degraded, "1".to_owned())
    );
    assert!(
        status_of(&health, "redis").1.starts_with("1 of 1 servers away: "),
        "{health:?}"
    );
    let unheard = async || status_of(&cache.health(), "log").0 == HealthStatus::Degraded;
    wait_until(seconds(10), "the log is known to be unheard", unheard).await;

    server.restart();
    let healthy = async || {
        // The breaker closes by calls that are answered.
        let _ = cache.get::<u32>(&key(99)).await;
        cache.health().status == HealthStatus::Healthy
    };
    wait_until(seconds(10), "everything is healthy again", healthy).await;
    assert_eq!(cache.health().metrics.errors, 0);
}

#[tokio::test]
async fn a_health_report_names_no_host_no_key_no_version_and_no_secret() {
    let canary = Canary::new();
    let server = RedisServer::builder().password(canary.secret()).start();
    let cache = Cache::builder("h")
        .redis(Redis::from_url(&server.url()).unwrap())
        .build()
        .unwrap();
    load(&cache, 4_711).await;
    server.kill();
    for n in 10..20 {
        load(&cache, n).await;
    }
    let health = cache.health();
    for report in [serde_json::to_string(&health).unwrap(), format!("{health:?}")] {
        canary.assert_absent("a health report", &report);
        for private in [
            "127.0.0.1",
            &server.port().to_string(),
            "4711",
            "user",
            "redis://",
        ] {
            assert!(!report.contains(private), "{private} is in {report}");
        }
    }
}
