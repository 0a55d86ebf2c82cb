//! The model: properties over random machines, and tables.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod drifts;
mod events;
mod guards;
mod machines;
mod properties;
mod resolves;
mod tables;
