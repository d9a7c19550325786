//! What is known about the servers.

use std::time::Duration;

use crate::shared::Fault;

/// What the server says about itself, for a health report. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Such as `7.0.15`; for Valkey the version of Redis that it is compatible with.
    pub version: Option<String>,
    /// Such as `noeviction`; any other may drop a tombstone or a mark inside one load's window.
    pub eviction_policy: Option<String>,
    /// In bytes.
    pub used_memory: Option<u64>,
    /// In bytes; 0 is no limit.
    pub max_memory: Option<u64>,
    /// Commands that the toolkit uses and this user may not.
    pub missing_commands: Vec<String>,
    /// How the server saves what it holds, such as `appendonly, save 3600 1`; empty if it does not.
    pub persistence: Option<String>,
    /// As `CONFIG GET client-output-buffer-limit` has it.
    pub output_buffer_limits: Option<String>,
    /// By how much the server's time of day and this machine's differ.
    pub clock_difference: Option<Duration>,
}

/// One server, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Host and port, or path. Never credentials.
    pub endpoint: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// Connections made since the start.
    pub connects: u64,
    /// Of these, those made in place of one that had ended, by why it had: a closed list of words, all of them always.
    pub reconnects: Vec<(&'static str, u64)>,
    /// Operations under way.
    pub in_flight: usize,
    /// Why there is no connection, or why the last one ended.
    pub last_fault: Option<Fault>,
    /// The breaker: `closed`, `open`, `half_open` or `forced_open`.
    pub breaker: &'static str,
    /// How often it has opened so far.
    pub breaker_openings: u64,
}
