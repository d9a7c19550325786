//! A market data service: five caching systems that teams wrote by hand, on the public API of `cache-core` and
//! `cache-tower`.
//!
//! | module | was |
//! |---|---|
//! | [`dedup`] | a cache against processing candles and publishing signals twice |
//! | [`indicators`] | moving averages that are carried on instead of recomputed |
//! | [`api`] | the cache service of a web application, with decorators and endpoints |
//! | [`quotes`] | seven classes of facts with a time to live each, and their warming |
//! | [`bars`], [`ticker`], [`llm`] | typed caches for bars, tickers and what a model says |
//!
//! [`service`] puts them together, [`warmers`] load ahead of traffic, [`upstream`] is what all of them ask, [`worker`] uses
//! [`dedup`], and [`compare`] measures what they are good for.

pub mod api;
pub mod bars;
pub mod candles;
pub mod compare;
pub mod dedup;
pub mod indicators;
pub mod llm;
pub mod quotes;
pub mod service;
pub mod ticker;
pub mod upstream;
pub mod warmers;
pub mod worker;
