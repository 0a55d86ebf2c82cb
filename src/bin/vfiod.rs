//! vfiod
fn main() {}
