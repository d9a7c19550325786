//! What the server says about itself.

use std::time::Duration;

use super::{Diagnosis, Severity};
use crate::shared::ServerFacts;

pub(super) fn examine_server(diagnosis: &mut Diagnosis, facts: &ServerFacts) {
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

/// Scripts use what came with it.
const OLDEST: (u32, u32) = (6, 2);

/// More than the way there and back, and than machines with NTP differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);
