//! The names of options: here, on batches and blocks, and in other crates.

use crate::diag::suggestion;

/// Every option, for suggestions.
pub(super) const KNOWN: &[&str] = &[
    "ttl",
    "policy",
    "prefix",
    "key",
    "skip",
    "secret",
    "tags",
    "stale",
    "negative_ttl",
    "error_ttl",
    "jitter",
    "eager",
    "soft_timeout",
    "hard_timeout",
    "throttle",
    "background",
    "if",
    "store_if",
    "cache",
    "version",
    "distributed",
    "codec",
    "crate",
    "companions",
    "detach",
    "propagate",
    "borrowed",
    "error",
    "batch",
    "result",
    "option",
];

/// What goes with `batch`, whose values are loaded together.
pub(crate) const OF_BATCHES: &[&str] = &[
    "batch",
    "ttl",
    "policy",
    "prefix",
    "key",
    "skip",
    "secret",
    "tags",
    "stale",
    "negative_ttl",
    "jitter",
    "soft_timeout",
    "hard_timeout",
    "throttle",
    "cache",
    "version",
    "distributed",
    "codec",
    "crate",
    "companions",
    "detach",
    "error",
];

/// What an `impl` block may say for all its functions.
pub(super) const OF_BLOCKS: &[&str] = &["skip", "cache", "crate", "companions"];

/// What to write instead of an unknown option: what other crates call it, or the nearest name.
pub(super) fn remedy(name: &str) -> String {
    let elsewhere = ELSEWHERE.iter().find(|(names, _)| names.contains(&name));
    elsewhere.map_or_else(
        || suggestion(name, KNOWN.iter().copied()),
        |(_, here)| format!("; {here}"),
    )
}

/// What options are called elsewhere, and what they are here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &[
            "time",
            "time_to_live",
            "duration",
            "expire",
            "expires",
            "expires_in",
            "expiry",
            "expiration",
            "timeout",
            "max_age",
            "seconds",
            "secs",
            "lifespan",
        ],
        "how long a value is fresh is its `ttl = \"5m\"`",
    ),
    (
        &["name", "cache_name", "region", "namespace", "id"],
        "what its keys begin with is the `prefix`",
    ),
    (
        &["tag", "group", "groups"],
        "write a list: `tags = [\"user:{id}\"]`",
    ),
    (
        &[
            "size",
            "max_size",
            "capacity",
            "max_capacity",
            "max_entries",
            "entries",
        ],
        "one cache holds the values of all functions, and its bound is set where it is built: \
         `Cache::builder(..).memory_bytes(..)` or `.memory_entries(..)`",
    ),
    (
        &["convert", "key_expr", "key_fn", "keys"],
        "what the key is made of is the `key`: a template `\"user:{id}\"` or an expression over the arguments",
    ),
    (
        &["ignore", "exclude", "except", "without"],
        "arguments that do not change the result are left out with `skip(..)`",
    ),
    (
        &["swr", "stale_while_revalidate", "grace", "stale_for"],
        "stale values are kept for `stale = \"1h\"`; with `background` they are served while a load runs",
    ),
    (
        &["refresh", "refresh_ahead", "beta", "prefetch"],
        "a refresh before the end is `eager = 0.8`, or `eager = \"xfetch\"`",
    ),
    (
        &["sync", "sync_writes", "single_flight", "coalesce", "lock"],
        "callers of one node always share a load; `distributed = false` lets nodes load each for itself",
    ),
    (
        &["condition", "when", "cache_if", "enabled"],
        "whether the cache is used is decided by `if = ..`, whether a value is stored by `store_if = |value| ..`",
    ),
    (
        &["unless"],
        "whether a value is stored is decided by `store_if = |value| ..`",
    ),
    (
        &["ty", "type", "create", "store"],
        "values are kept in the process-wide `Cache`, unless `cache = ..` names another",
    ),
    (
        &["serializer", "serialize", "format", "encoding"],
        "how values are written to the shared tier is the `codec`",
    ),
    (
        &["config", "profile", "settings"],
        "options by name are a `policy = \"price\"`",
    ),
];
