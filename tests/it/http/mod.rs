//! The HTTP cache at its boundary: one file per theme, cases as data, each with its section.

mod collapse;
mod placement;
mod reuse;
mod storing;
mod streaming;
mod vary;
mod world;
