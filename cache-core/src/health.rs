//! [`Health`]: how a cache is, and what it depends on, from what is known right now. Nobody is asked for it.
//!
//! * *Live*: the process works. A cache is live until it is closed; restarting it would help nobody before that.
//! * *Ready*: it can serve. Without Redis a cache serves from memory and from loaders, so that is **degraded, not
//!   down**: take a node out of service for [`ready`](Health::ready) alone.
//!
//! Nothing here names a host, a key or a version: it may be shown to whoever may ask.

use serde::Serialize;

use crate::cache::Cache;
use crate::cache::far::Far;
use crate::stats::{SharedStats, Stats};

/// How a cache is. Its JSON form is what health endpoints answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The name of the cache.
    pub cache: String,
    /// In one word.
    pub status: HealthStatus,
    /// Whether it can do anything at all.
    pub live: bool,
    /// Whether it can serve.
    pub ready: bool,
    /// Whether Redis answers; `true` where there is none to answer.
    pub connection_healthy: bool,
    /// Whether it serves from memory while Redis does not answer. Always.
    pub fallback_enabled: bool,
    /// The figures that tell most.
    pub metrics: HealthMetrics,
    /// What it depends on, each by itself.
    pub dependencies: Vec<Dependency>,
}

/// How well something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// As it should.
    Healthy,
    /// It serves, with less: from memory, without other nodes' invalidations, or with own ones undelivered.
    Degraded,
    /// It does not serve.
    Down,
}

impl HealthStatus {
    /// The status in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Figures of a [`Health`], since the cache was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthMetrics {
    /// The share of calls that a tier answered without a load.
    pub hit_rate: f64,
    /// The share of calls that ended in an error.
    pub error_rate: f64,
    /// Calls.
    pub total_operations: u64,
    /// The time spent in loads and on the shared tier, per call.
    pub average_response_time_ms: f64,
    /// Calls that a tier answered without a load.
    pub hits: u64,
    /// Calls that no tier could answer.
    pub misses: u64,
    /// Calls that ended in an error.
    pub errors: u64,
}

impl HealthMetrics {
    /// The figures of these statistics.
    pub fn of(stats: &Stats) -> Self {
        let counters = &stats.counters;
        let calls = counters.calls();
        let share = |part: f64| if calls == 0 { 0.0 } else { part / calls as f64 };
        let shared = stats.shared.as_ref().map(|shared| shared.operation_times.sum());
        let spent = stats.load_times.sum() + shared.unwrap_or_default();
        Self {
            hit_rate: counters.hit_ratio(),
            error_rate: share(counters.failures as f64),
            total_operations: calls,
            average_response_time_ms: share(spent.as_secs_f64() * 1e3),
            hits: counters.hits(),
            misses: counters.misses(),
            errors: counters.failures,
        }
    }
}

/// One thing that a cache depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dependency {
    /// `memory`, `redis`, `log`, `breaker` or `pending_invalidations`.
    pub name: &'static str,
    /// How it is.
    pub status: HealthStatus,
    /// Why, in words from a closed list.
    pub detail: String,
}

impl Cache {
    /// How this cache is, from what is known right now: no server is asked, and nothing is waited for.
    ///
    /// A Redis that was never needed yet is neither known to answer nor known not to: it counts as healthy.
    pub fn health(&self) -> Health {
        let inner = self.inner();
        let stats = inner.stats();
        let closed = inner.is_closing();
        let mut dependencies = vec![Dependency {
            name: "memory",
            status: if closed {
                HealthStatus::Down
            } else {
                HealthStatus::Healthy
            },
            detail: if closed { "closed" } else { "serving" }.to_owned(),
        }];
        if let (Some(far), Some(shared)) = (self.far(), &stats.shared) {
            dependencies.extend(shared_dependencies(far, shared));
        }
        let status = dependencies.iter().map(|dependency| dependency.status).max();
        let redis = dependencies
            .iter()
            .filter(|dependency| matches!(dependency.name, "redis" | "breaker"));
        Health {
            cache: self.name().to_owned(),
            status: status.unwrap_or(HealthStatus::Healthy),
            live: !closed,
            ready: !closed,
            connection_healthy: redis
                .clone()
                .all(|dependency| dependency.status == HealthStatus::Healthy),
            fallback_enabled: true,
            metrics: HealthMetrics::of(&stats),
            dependencies,
        }
    }
}

fn shared_dependencies(far: &Far, shared: &SharedStats) -> [Dependency; 4] {
    let judged = |name, well: bool, detail: String| Dependency {
        name,
        status: if well {
            HealthStatus::Healthy
        } else {
            HealthStatus::Degraded
        },
        detail,
    };
    let servers = far.port().health();
    let fault = servers
        .iter()
        .find_map(|server| server.last_fault.as_ref().filter(|_| !server.connected));
    let away = servers
        .iter()
        .filter(|server| !server.connected && server.last_fault.is_some())
        .count();
    let redis = match fault {
        Some(fault) => format!(
            "{away} of {} servers away: {}",
            servers.len(),
            fault.kind().as_str()
        ),
        None if shared.servers_connected == 0 => "not needed yet".to_owned(),
        None => "connected".to_owned(),
    };
    let pending = shared.pending_invalidations;
    let begun = far.hearing().position().is_some();
    [
        judged("redis", away == 0, redis),
        judged("breaker", shared.breaker == "closed", shared.breaker.to_owned()),
        judged(
            "log",
            shared.log_heard || !begun,
            match (shared.log_heard, begun) {
                (true, _) => "heard",
                (false, true) => "not heard",
                (false, false) => "not needed yet",
            }
            .to_owned(),
        ),
        judged("pending_invalidations", pending == 0, pending.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EntryOptions;
    use crate::time::minutes;

    #[tokio::test]
    async fn a_cache_in_memory_is_healthy_until_it_is_closed() {
        let cache = Cache::builder("m").build().unwrap();
        let key = crate::CacheKey::build("k", 1_u64).unwrap();
        for _ in 0..4 {
            let options = EntryOptions::ttl(minutes(1));
            cache
                .get_or_load(&key, options, |_| async { Ok::<_, &str>(1) })
                .await
                .unwrap();
        }
        let health = cache.health();
        assert_eq!(
            (health.status, health.live, health.ready),
            (HealthStatus::Healthy, true, true)
        );
        assert_eq!(
            (
                health.metrics.hit_rate,
                health.metrics.hits,
                health.metrics.misses
            ),
            (0.75, 3, 1)
        );
        cache.close(minutes(1)).await.unwrap();
        let health = cache.health();
        assert_eq!(
            (health.status, health.live, health.ready),
            (HealthStatus::Down, false, false)
        );
    }

    #[test]
    fn the_json_form_has_the_fields_that_endpoints_promise() {
        let health = Cache::builder("m").build().unwrap().health();
        let json = serde_json::to_value(&health).unwrap();
        assert_eq!(json["status"], "healthy");
        assert_eq!(json["connection_healthy"], true);
        assert_eq!(json["fallback_enabled"], true);
        for field in [
            "hit_rate",
            "error_rate",
            "total_operations",
            "average_response_time_ms",
            "hits",
            "misses",
            "errors",
        ] {
            assert!(json["metrics"][field].is_number(), "{field}: {json}");
        }
    }
}
