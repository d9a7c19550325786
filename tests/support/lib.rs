//! Real servers and faults for the tests.
//!
//! Servers and faults are a black box towards the toolkit and know nothing of its crates; only [`hears`] and [`soak`] do.
//!
//! | You need | Take |
//! |---|---|
//! | a Redis server, plain or with ACL, TLS, OOM, LOADING, … | [`RedisServer`] |
//! | a failover | [`SentinelTrio`] |
//! | slots, MOVED, resharding | [`RedisCluster`] |
//! | a bad network between client and server | [`FaultProxy`] |
//! | several processes of the same program | [`Children`] |
//! | a page in a real browser | [`Browser`] |
//! | proof that nobody reads values older than permitted | [`Oracle`] |
//! | to wait for something without sleeping | [`wait_until`] |
//! | a crowd and faults by chance, for seconds or for hours | [`soak`] |
//! | the log lines of this process, and proof that no secret is among them | [`LogCapture`], [`Canary`] |
//!
//! # Rules
//!
//! * Servers are real processes on 127.0.0.1 and ports of their own, so tests run in parallel.
//! * A server lives as long as its value. It is killed by its process id on drop, hence also on panic; a
//!   watchdog process kills what is left and removes the files when the test process itself was killed.
//! * A missing server binary fails the test and names the command that installs it. Nothing is skipped.
//! * The methods are synchronous and block for milliseconds (a failover: for seconds). Async tests which
//!   need their own tasks to go on meanwhile use `#[tokio::test(flavor = "multi_thread")]`.
//! * The proxy has a thread and runtime of its own, so it keeps running while a test blocks or pauses time.

pub mod browser;
pub mod canary;
pub mod children;
pub mod logs;
pub mod oracle;
pub mod proxy;
pub mod redis;
pub mod resp;
pub mod soak;
pub mod tls;
pub mod wait;

mod binary;
mod clock;
mod hearing;
#[cfg(doctest)]
mod pages;
mod ports;
mod process;
mod scratch;

pub use browser::Browser;
pub use canary::Canary;
pub use children::{Child, Children};
pub use clock::Stopwatch;
pub use hearing::hears;
pub use logs::LogCapture;
pub use oracle::Oracle;
pub use proxy::{Accepting, Fault, FaultProxy};
pub use redis::{RedisCluster, RedisServer, SentinelTrio};
pub use tls::ServerCertificate;
pub use wait::{wait_until, wait_until_blocking};
