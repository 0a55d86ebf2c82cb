//! The exact writes, in order, against a small kernel that answers them.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod binding;
mod errands;
mod guarded;
mod loading;
mod sim;
