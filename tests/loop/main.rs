//! The loop on a simulated kernel, with tokio's clock standing still but where somebody waits.

mod blame;
mod blocked;
mod calls;
mod drivers;
mod guards;
mod holds;
mod looking;
mod modules;
mod pace;
mod recovery;
mod releases;
mod repair;
mod rest;
mod restart;
mod stored;
mod support;
mod verdicts;
