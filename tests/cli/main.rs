//! `vfiodctl`: what each command prints, asks and answers with, against a fake daemon on a private
//! bus, and without one on saved trees.
//!
//! `UPDATE_EXPECT=1 cargo test --test cli` writes what comes of each now into `tests/cli/expected`.

#[path = "../common/mod.rs"]
mod common;
mod support;
#[path = "../common/written.rs"]
mod written;

mod acting;
mod agreement;
mod following;
mod generated;
mod holding;
mod hook;
mod machines;
mod newer;
mod program;
mod reading;
mod snapshot;
mod trees;
