//! What those who run services rely on: configuration, metrics, health.

mod configuration;
mod doctor;
mod grafana;
mod health;
mod metrics;
mod secrets;
