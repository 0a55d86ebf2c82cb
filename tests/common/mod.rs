//! What integration tests share.

pub mod tree;
