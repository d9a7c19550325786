//! The HTTP cache at its boundary: one file per theme, cases as data, each with its section.

mod attacks;
mod changes;
mod collapse;
mod memory;
mod order;
mod placement;
mod privacy;
mod query;
mod ranges;
mod raw;
mod reuse;
mod search;
mod shared;
mod stale;
mod storing;
mod streaming;
mod validation;
mod vary;
mod wire;
mod world;
