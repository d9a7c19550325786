//! The examples of the documents, compiled and run with the documentation tests. Every document that has some is named
//! here; `tests/it/tidy.rs` sees to it.

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
