//! The examples of the documents, compiled and run with the documentation tests. Every document that has some is named
//! here; `tests/it/documents.rs` sees to it.

#[doc = include_str!("../../README.md")]
struct Readme;

#[doc = include_str!("../../docs/testing.md")]
struct Testing;

#[doc = include_str!("../../docs/guide/getting-started.md")]
struct GettingStarted;

#[doc = include_str!("../../docs/guide/keys.md")]
struct Keys;

#[doc = include_str!("../../docs/guide/freshness.md")]
struct Freshness;

#[doc = include_str!("../../docs/guide/stampedes.md")]
struct Stampedes;

#[doc = include_str!("../../docs/guide/invalidation.md")]
struct Invalidation;

#[doc = include_str!("../../docs/guide/http.md")]
struct Http;

#[doc = include_str!("../../docs/guide/layers.md")]
struct Layers;

#[doc = include_str!("../../docs/guide/functions.md")]
struct Functions;

#[doc = include_str!("../../docs/guide/redis.md")]
struct Redis;

#[doc = include_str!("../../docs/guide/failures.md")]
struct Failures;

#[doc = include_str!("../../docs/guide/operating.md")]
struct Operating;

#[doc = include_str!("../../docs/guide/security.md")]
struct Security;

#[doc = include_str!("../../docs/guide/tuning.md")]
struct Tuning;

#[doc = include_str!("../../docs/guide/migration.md")]
struct Migration;

#[doc = include_str!("../../CONTRIBUTING.md")]
struct Contributing;

#[doc = include_str!("../../docs/admin.md")]
struct Admin;

#[doc = include_str!("../../docs/configuration.md")]
struct Configuration;

#[doc = include_str!("../../docs/operations.md")]
struct Operations;

#[doc = include_str!("../../docs/replace-hand-written-cache.md")]
struct ReplaceHandWrittenCache;
