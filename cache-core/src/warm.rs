//! Warming: values that are loaded before anybody asks for them.
//!
//! | what | how |
//! |---|---|
//! | a list, now | [`Cache::warm`](crate::Cache::warm), awaited |
//! | by name: at start, at an interval, on demand | [`Warmer`], [`Cache::add_warmer`](crate::Cache::add_warmer) |
//! | a few values that every request needs | [`Cache::refresh_ahead`](crate::Cache::refresh_ahead) |
//! | whatever is in use | [`EntryOptions::eager`](crate::EntryOptions::eager): a hit near the end refreshes |
//!
//! # What holds for all of them
//!
//! * A key takes the way of [`get_or_load`](crate::Cache::get_or_load): what is fresh is skipped, callers that come
//!   meanwhile join, and however many nodes warm a list, each key is loaded once. It counts as a call in
//!   [`stats`](crate::stats).
//! * Live traffic goes first: an eighth of the [loads](crate::CacheBuilder::max_concurrent_loads) that may run at once is
//!   left to it; while Redis is in trouble warming stands back, for five seconds of a run at most; and it stops before memory is full, so that nothing is pushed out that traffic has brought in.
//! * Nothing waits for a warmer. [`close`](crate::Cache::close) ends it.
//!
//! # Warmers in a fleet
//!
//! Nodes with the same warmer take turns. At start one node goes through the list and loads; then the next one does, and
//! finds in the shared tier what the first has loaded. At the interval one node runs, and the others leave it at that. A
//! run on demand runs here. While Redis is away each node warms for itself. [`Warmer::each_node`] goes without turns.

pub use crate::cache::warm::{
    WarmCause, WarmReport, WarmResult, WarmRun, WarmStop, Warmed, Warmer, WarmerHandle, WarmerOutput,
    WarmerRun, WarmerStatus, Warming,
};
