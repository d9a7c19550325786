//! Behaviour at the public boundary.
mod http;
