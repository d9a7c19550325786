//! Behaviour at the public boundary.
