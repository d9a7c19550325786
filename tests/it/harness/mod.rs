//! The harness itself: a fault that does not happen makes every test that relies on it pass.

mod failover;
mod network;
mod observation;
mod processes;
mod servers;
