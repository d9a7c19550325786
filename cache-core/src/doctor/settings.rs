//! Settings of the cache that are at odds with each other, or with sense.

use std::time::Duration;

use super::{Diagnosis, Finding, Regimen, Severity};
use crate::options::Policy;
use crate::time::{days, seconds};

pub(super) fn examine_settings(diagnosis: &mut Diagnosis, regimen: &Regimen) {
    examine_lifetimes(diagnosis, regimen);
    if let Some((lock_ttl, disconnected_cap)) = regimen.shared {
        let Regimen { policy, max_load, .. } = regimen;
        examine_shared_settings(diagnosis, policy, *max_load, lock_ttl, disconnected_cap);
    }
}

/// What a policy says itself; what it has from the defaults was told with them.
pub(super) fn examine_policy(diagnosis: &mut Diagnosis, name: &str, regimen: &Regimen) {
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
