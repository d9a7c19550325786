//! [`Cache::doctor`]: what is set in a way that will hurt, each with its remedy.
//!
//! It asks the server, so it is for operators and start-up logs, not for probes. What it cannot find out, because the
//! user may not ask, is listed as unchecked: no finding is not the same as no problem.
//!
//! The judgement is pure: facts in, findings out.

use std::time::Duration;

use serde::Serialize;

use crate::cache::Cache;
use crate::error::Error;
use crate::options::Policy;
use crate::shared::{Fault, ServerFacts};
use crate::stats::Stats;
use crate::time::{days, seconds};

/// What the doctor found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, because the server did not tell.
    pub unchecked: Vec<&'static str>,
}

/// Something that is set in a way that hurts, or will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Stable, for alerts: `eviction_policy`, `missing_command`, ..
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// It costs hits, memory or time.
    Warning,
    /// A promise of the cache does not hold.
    Severe,
}

impl Severity {
    /// The severity in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Severe => "severe",
        }
    }
}

impl Diagnosis {
    fn add(
        &mut self,
        code: &'static str,
        severity: Severity,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            code,
            severity,
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

/// The settings of a cache that can be at odds with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regimen {
    pub(crate) policy: Policy,
    pub(crate) max_load: Duration,
    /// The shared tier's: how long a lock lasts, and how long entries are served while the log is not heard.
    pub(crate) shared: Option<(Duration, Duration)>,
}

impl Cache {
    /// Looks at the settings of this cache and of its Redis, and tells what will hurt, with its remedy. Takes a few
    /// operations on the server, within one budget of them each.
    ///
    /// # Cancellation
    ///
    /// It changes nothing, so nothing is left behind.
    pub async fn doctor(&self) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        let stats = self.stats();
        self.examine_options(&mut diagnosis);
        examine_memory(&mut diagnosis, &stats);
        for warmer in self.missing_warmers() {
            diagnosis.add(
                "warmer_missing",
                Severity::Warning,
                format!("the configuration has a warmer `{warmer}`, and no code added one of that name"),
                "add it with `Cache::add_warmer`, or take it out of the configuration",
            );
        }
        if let Some(server) = self.ask_server().await {
            match server {
                Ok(facts) => examine_server(&mut diagnosis, &facts),
                Err(fault) => diagnosis.add(
                    "redis_unreachable",
                    Severity::Severe,
                    format!("Redis does not answer: {}", fault.kind().as_str()),
                    "start it, or correct its address, user and password; until then every node caches for itself",
                ),
            }
            examine_ties(&mut diagnosis, &self.stats());
        }
        diagnosis
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        diagnosis
    }

    /// What the server behind the shared tier says about itself, such as the memory it uses; `None` without a shared tier.
    ///
    /// It asks the server, like [`doctor`](Self::doctor). On a cluster the node that holds the cache's tags is asked.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if it does not answer.
    pub async fn server(&self) -> Result<Option<ServerFacts>, Error> {
        let facts = self.ask_server().await.transpose();
        facts.map_err(|fault| self.unavailable("inspect", &fault))
    }

    /// The defaults, and each policy as calls that name it get it.
    fn examine_options(&self, diagnosis: &mut Diagnosis) {
        let inner = self.inner();
        let regimen = inner.regimen();
        examine_settings(diagnosis, &regimen);
        for (name, options) in self.policies().all() {
            // What cannot be resolved was refused when it was set.
            if let Ok(policy) = options.or(&inner.defaults).resolve() {
                examine_policy(diagnosis, &name, &Regimen { policy, ..regimen });
            }
        }
        for (name, place) in self.policies().missing() {
            diagnosis.add(
                "policy_missing",
                Severity::Warning,
                format!("{place} asks for the policy `{name}`, and there is none: the defaults hold"),
                "add it with `CacheBuilder::policy` or in the configuration, or correct the name",
            );
        }
    }

    async fn ask_server(&self) -> Option<Result<ServerFacts, Fault>> {
        let far = self.far().cloned()?;
        Some(far.port().inspect(far.budget() * 4).await)
    }
}

fn examine_settings(diagnosis: &mut Diagnosis, regimen: &Regimen) {
    examine_lifetimes(diagnosis, regimen);
    if let Some((lock_ttl, disconnected_cap)) = regimen.shared {
        let Regimen { policy, max_load, .. } = regimen;
        examine_shared_settings(diagnosis, policy, *max_load, lock_ttl, disconnected_cap);
    }
}

/// What a policy says itself; what it has from the defaults was told with them.
fn examine_policy(diagnosis: &mut Diagnosis, name: &str, regimen: &Regimen) {
    let mut own = Diagnosis::default();
    examine_lifetimes(&mut own, regimen);
    let is_new = |finding: &Finding| !diagnosis.findings.iter().any(|told| told.what == finding.what);
    own.findings.retain(is_new);
    for finding in own.findings {
        let what = format!("policy `{name}`: {}", finding.what);
        diagnosis.findings.push(Finding { what, ..finding });
    }
}

fn examine_lifetimes(diagnosis: &mut Diagnosis, regimen: &Regimen) {
    let Regimen {
        policy,
        max_load,
        shared,
    } = regimen;
    let notice = Severity::Notice;
    if policy.ttl < seconds(1) && shared.is_some() {
        diagnosis.add(
            "ttl_too_short",
            Severity::Warning,
            format!(
                "the TTL is {:?}: an entry is stale before another node can use it",
                policy.ttl
            ),
            "raise it to seconds at least, or keep such values in a cache without Redis",
        );
    }
    if policy.ttl > days(30) {
        diagnosis.add(
            "ttl_too_long",
            notice,
            format!(
                "the TTL is {} days: a forgotten invalidation heals only then",
                policy.ttl.as_secs() / 86_400
            ),
            "lower it, or rely on tags and invalidations for everything in this cache",
        );
    }
    if policy.hard_timeout > *max_load {
        diagnosis.add(
            "timeouts_crossed",
            Severity::Warning,
            format!(
                "callers wait {:?} for loads that are stopped after {max_load:?}",
                policy.hard_timeout
            ),
            "raise `max_load` above `hard_timeout`, or lower that",
        );
    }
    if policy.negative_ttl > policy.hard_ttl {
        diagnosis.add(
            "negative_ttl_too_long",
            Severity::Warning,
            format!(
                "absence is kept {:?}, longer than a value ({:?})",
                policy.negative_ttl, policy.hard_ttl
            ),
            "lower `negative_ttl`; what is missing now is often about to be created",
        );
    }
    let window = policy.hard_ttl.saturating_sub(policy.ttl);
    if !window.is_zero() && !policy.fail_safe {
        diagnosis.add(
            "stale_window_unused",
            notice,
            format!("values are kept {window:?} beyond their TTL, and `fail_safe` is off: they take room for nothing"),
            "switch `fail_safe` on, or drop the stale window",
        );
    }
    if !window.is_zero() && policy.fail_safe && policy.throttle > window {
        diagnosis.add(
            "throttle_too_long",
            notice,
            format!(
                "after a failure the next load is tried in {:?}, when the stale value is gone",
                policy.throttle
            ),
            format!("lower `throttle` below the stale window ({window:?})"),
        );
    }
    if policy.jitter == 0.0 && shared.is_some() {
        diagnosis.add(
            "no_jitter",
            notice,
            "entries that are written together expire together on all nodes",
            "leave `jitter` at its default of 0.1",
        );
    }
}

fn examine_shared_settings(
    diagnosis: &mut Diagnosis,
    policy: &Policy,
    max_load: Duration,
    lock_ttl: Duration,
    disconnected_cap: Duration,
) {
    if lock_ttl > max_load {
        diagnosis.add(
            "lock_ttl_too_long",
            Severity::Warning,
            format!("a node that dies while it loads delays the others by {lock_ttl:?}, longer than any load may take"),
            format!("lower `lock_ttl` below `max_load` ({max_load:?}); it is renewed while a load runs"),
        );
    }
    if disconnected_cap > policy.hard_ttl {
        diagnosis.add(
            "disconnected_cap_too_long",
            Severity::Warning,
            format!(
                "entries are served {disconnected_cap:?} without hearing invalidations, longer than they live"
            ),
            "lower `disconnected_cap`; it bounds how long an invalidation may go unheard",
        );
    }
}

fn examine_memory(diagnosis: &mut Diagnosis, stats: &Stats) {
    let full = stats.weight as f64 >= 0.9 * stats.capacity as f64;
    if full && stats.evictions > stats.counters.stores / 2 && stats.counters.stores >= 100 {
        diagnosis.add(
            "memory_too_small",
            Severity::Warning,
            format!(
                "the in-process tier is full, and of {} values stored {} were evicted for space",
                stats.counters.stores, stats.evictions
            ),
            "raise `memory_bytes` or `memory_entries`, or cache less in it",
        );
    }
}

fn examine_server(diagnosis: &mut Diagnosis, facts: &ServerFacts) {
    examine_version(diagnosis, facts);
    examine_server_memory(diagnosis, facts);
    if !facts.missing_commands.is_empty() {
        diagnosis.add(
            "missing_command",
            Severity::Severe,
            format!("the user may not run: {}", facts.missing_commands.join(", ")),
            format!(
                "permit them: `ACL SETUSER <user> +{}`",
                facts.missing_commands.join(" +")
            ),
        );
    }
    match facts.persistence.as_deref() {
        None => diagnosis.unchecked.push("persistence"),
        Some("") => {}
        Some(how) => diagnosis.add(
            "persistence",
            Severity::Notice,
            format!("Redis saves what it holds ({how}); a cache needs none of it, and forks and writes cost latency"),
            "set `save \"\"` and `appendonly no`, unless something else on this server needs them",
        ),
    }
    match &facts.output_buffer_limits {
        None => diagnosis.unchecked.push("output_buffer_limits"),
        Some(limits) => examine_buffers(diagnosis, limits),
    }
    match facts.clock_difference {
        None => diagnosis.unchecked.push("clock_difference"),
        Some(difference) if difference > CLOCK_TOLERANCE => diagnosis.add(
            "clock_difference",
            Severity::Notice,
            format!(
                "the clocks of this node and of Redis differ by {} s",
                difference.as_secs()
            ),
            "run NTP on both; the cache compares no clocks, but logs and HTTP dates do",
        ),
        Some(_) => {}
    }
}

fn examine_version(diagnosis: &mut Diagnosis, facts: &ServerFacts) {
    let Some(version) = &facts.version else {
        diagnosis.unchecked.push("version");
        return;
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if number < OLDEST {
        diagnosis.add(
            "redis_too_old",
            Severity::Severe,
            format!("Redis is version {version}"),
            "upgrade to Redis 6.2 or later, or Valkey; scripts here rely on it",
        );
    }
}

fn examine_server_memory(diagnosis: &mut Diagnosis, facts: &ServerFacts) {
    match facts.eviction_policy.as_deref() {
        None => diagnosis.unchecked.push("eviction_policy"),
        Some("noeviction") => {}
        // Everything of ours has a time to live, so the volatile ones evict it just as well.
        Some(policy) => diagnosis.add(
            "eviction_policy",
            Severity::Warning,
            format!("`maxmemory-policy` is `{policy}`: a tag or tombstone may be evicted within the window of one load"),
            "set `maxmemory-policy noeviction` and give Redis room; every key here has a time to live",
        ),
    }
    let (Some(used), Some(limit)) = (facts.used_memory, facts.max_memory) else {
        diagnosis.unchecked.push("memory");
        return;
    };
    if limit == 0 {
        diagnosis.add(
            "memory_unbounded",
            Severity::Notice,
            "`maxmemory` is not set: Redis grows until the machine has no memory left",
            "set `maxmemory` to what the machine can spare",
        );
        return;
    }
    let share = used as f64 / limit as f64;
    if share >= 0.9 {
        diagnosis.add(
            "memory_headroom",
            if share >= 0.98 {
                Severity::Severe
            } else {
                Severity::Warning
            },
            format!(
                "Redis uses {:.0} % of its `maxmemory`; beyond it, it refuses to store or evicts",
                share * 100.0
            ),
            "raise `maxmemory`, shorten TTLs, or compress values",
        );
    }
}

/// The limits as the server writes them: class, hard, soft, seconds, four words each.
fn examine_buffers(diagnosis: &mut Diagnosis, limits: &str) {
    let words: Vec<&str> = limits.split_whitespace().collect();
    for class in words.chunks_exact(4) {
        let hard = class[1].parse::<u64>().unwrap_or(0);
        let (what, least) = match class[0] {
            "normal" => ("answers, batches and the invalidation log", 64 << 20),
            "pubsub" => ("wake-ups", 1 << 20),
            _ => continue,
        };
        if hard != 0 && hard < least {
            diagnosis.add(
                "output_buffer_limit",
                Severity::Warning,
                format!(
                    "`client-output-buffer-limit {}` disconnects who has {hard} bytes of {what} waiting",
                    class[0]
                ),
                format!("raise it to {} MiB at least; 0 is no limit", least >> 20),
            );
        }
    }
}

fn examine_ties(diagnosis: &mut Diagnosis, stats: &Stats) {
    let Some(shared) = &stats.shared else { return };
    if shared.breaker != "closed" {
        diagnosis.add(
            "breaker_open",
            Severity::Warning,
            format!(
                "the breaker is {}: Redis failed too often to be asked",
                shared.breaker.replace('_', " ")
            ),
            "see `cache_shared_errors_total` for why; it closes by itself once Redis answers",
        );
    }
    if !shared.log_heard && shared.log_lag.is_some() {
        diagnosis.add(
            "log_unheard",
            Severity::Warning,
            "invalidations by other nodes are not heard: entries are served from memory for `disconnected_cap` only",
            "look at the connection to Redis, and whether a proxy cuts connections that block",
        );
    }
    if shared.pending_invalidations > 0 {
        diagnosis.add(
            "pending_invalidations",
            Severity::Warning,
            format!(
                "{} invalidations were not acknowledged by Redis yet",
                shared.pending_invalidations
            ),
            "they are repeated by themselves; if they stay, look at Redis and at what this user may do",
        );
    }
}

/// Scripts use what came with it.
const OLDEST: (u32, u32) = (6, 2);

/// More than the way there and back, and than machines with NTP differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EntryOptions;
    use crate::time::{hours, minutes};

    fn codes(examine: impl FnOnce(&mut Diagnosis)) -> Vec<&'static str> {
        let mut diagnosis = Diagnosis::default();
        examine(&mut diagnosis);
        for finding in &diagnosis.findings {
            assert!(
                !finding.what.is_empty() && !finding.remedy.is_empty(),
                "{finding:?}"
            );
        }
        diagnosis.findings.iter().map(|finding| finding.code).collect()
    }

    #[track_caller]
    fn settings(options: &EntryOptions, shared: Option<(Duration, Duration)>, expected: &[&str]) {
        let policy = options.resolve().unwrap();
        let regimen = Regimen {
            policy,
            max_load: minutes(1),
            shared,
        };
        assert_eq!(codes(|diagnosis| examine_settings(diagnosis, &regimen)), expected);
    }

    #[test]
    fn lifetimes_that_make_no_sense_are_found() {
        let shared = Some((seconds(10), seconds(5)));
        let ttl = EntryOptions::ttl;
        settings(&EntryOptions::new(), shared, &[]);
        settings(&EntryOptions::new().stale_for(hours(1)), shared, &[]);
        settings(&ttl(Duration::from_millis(500)), None, &[]);
        settings(
            &ttl(Duration::from_millis(500)),
            shared,
            &["ttl_too_short", "disconnected_cap_too_long"],
        );
        settings(&ttl(days(31)), shared, &["ttl_too_long"]);
        settings(
            &EntryOptions::new().hard_timeout(minutes(2)),
            None,
            &["timeouts_crossed"],
        );
        settings(
            &ttl(minutes(1)).negative_ttl(hours(1)),
            None,
            &["negative_ttl_too_long"],
        );
        settings(
            &EntryOptions::new().stale_for(hours(1)).fail_safe(false),
            None,
            &["stale_window_unused"],
        );
        settings(
            &EntryOptions::new().stale_for(seconds(10)),
            None,
            &["throttle_too_long"],
        );
        settings(&EntryOptions::new().jitter(0.0), None, &[]);
        settings(&EntryOptions::new().jitter(0.0), shared, &["no_jitter"]);
        settings(
            &EntryOptions::new(),
            Some((minutes(2), seconds(5))),
            &["lock_ttl_too_long"],
        );
    }

    #[test]
    fn what_the_server_says_is_judged() {
        let well = ServerFacts {
            version: Some("7.0.15".to_owned()),
            eviction_policy: Some("noeviction".to_owned()),
            used_memory: Some(1),
            max_memory: Some(100),
            missing_commands: Vec::new(),
            persistence: Some(String::new()),
            output_buffer_limits: Some(
                "normal 0 0 0 replica 256 64 60 pubsub 33554432 8388608 60".to_owned(),
            ),
            clock_difference: Some(seconds(1)),
        };
        #[track_caller]
        fn check(facts: &ServerFacts, expected: &[&str]) {
            assert_eq!(codes(|diagnosis| examine_server(diagnosis, facts)), expected);
        }
        check(&well, &[]);
        let version = |text: &str| ServerFacts {
            version: Some(text.to_owned()),
            ..well.clone()
        };
        check(&version("6.0.16"), &["redis_too_old"]);
        check(&version("6.2.0"), &[]);
        check(&version("10.1"), &[]);
        let memory = |used, limit| ServerFacts {
            used_memory: Some(used),
            max_memory: Some(limit),
            ..well.clone()
        };
        check(&memory(95, 100), &["memory_headroom"]);
        check(&memory(95, 0), &["memory_unbounded"]);
        let buffers = |text: &str| ServerFacts {
            output_buffer_limits: Some(text.to_owned()),
            ..well.clone()
        };
        check(
            &buffers("normal 1024 0 0 pubsub 1024 0 0"),
            &["output_buffer_limit", "output_buffer_limit"],
        );
        check(&buffers("nonsense"), &[]);
        check(
            &ServerFacts {
                clock_difference: Some(minutes(1)),
                ..well.clone()
            },
            &["clock_difference"],
        );
        let mut diagnosis = Diagnosis::default();
        examine_server(&mut diagnosis, &ServerFacts::default());
        assert_eq!(diagnosis.findings, []);
        assert_eq!(
            diagnosis.unchecked,
            [
                "version",
                "eviction_policy",
                "memory",
                "persistence",
                "output_buffer_limits",
                "clock_difference"
            ]
        );
    }
}
