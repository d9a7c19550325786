//! What those who run services rely on: configuration, metrics, health.

mod configuration;
mod doctor;
mod health;
mod metrics;
