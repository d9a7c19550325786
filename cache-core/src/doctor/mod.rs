//! [`Cache::doctor`]: what is set in a way that will hurt, each with its remedy.
//!
//! It asks the server, so it is for operators and start-up logs, not for probes. What it cannot find out, because the
//! user may not ask, is listed as unchecked: no finding is not the same as no problem.
//!
//! The judgement is pure: facts in, findings out.

mod server;
mod settings;

use std::time::Duration;

use serde::Serialize;

use crate::cache::Cache;
use crate::error::Error;
use crate::options::Policy;
use crate::shared::{Fault, ServerFacts};
use crate::stats::Stats;

use server::examine_server;
use settings::{examine_policy, examine_settings};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EntryOptions;
    use crate::time::{days, hours, minutes, seconds};

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
