//! The loop on a simulated kernel, with tokio's clock standing still but where somebody waits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod guards;
mod modules;
mod pace;
mod repair;
mod rest;
mod restart;
mod support;
