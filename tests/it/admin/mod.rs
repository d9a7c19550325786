//! The admin router: what it answers, and what it refuses.

mod access;
mod answers;
mod attacks;
mod described;
mod world;
