#!/bin/bash
# procfs 0.18.0 (Rust): one module whose count is "-" in /proc/modules, as a kernel without CONFIG_MODULE_UNLOAD writes all of them, makes
# KernelModules fail as a whole, with a text that calls it a bug: the other modules of the file are lost with it. The count is read as
# i32; -1, of a module whose exit function is running, is a number.
#
# Seen: procfs-core 0.18.0, which procfs 0.18.0 is made of.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"

[dependencies]
procfs-core = "=0.18.0"
TOML
cat >"$work/src/main.rs" <<'RUST'
use procfs_core::{FromBufRead, KernelModules};

fn main() {
    for text in [
        "vfio 65536 1 vfio_pci, Live 0x0\nkvm 1000 0 - Live 0x0\n",
        "vfio 65536 -1 - Unloading 0x0\nkvm 1000 0 - Live 0x0\n",
        "vfio 65536 - - Live 0x0\nkvm 1000 0 - Live 0x0\n",
    ] {
        match KernelModules::from_buf_read(text.as_bytes()) {
            Ok(modules) => println!("{}", modules.0.len()),
            Err(error) => println!("{}", error.to_string().contains("bug")),
        }
    }
}
RUST
seen=$(cargo run --quiet --manifest-path "$work/Cargo.toml" | xargs)
if [[ $seen != '2 2 true' ]]; then
    echo "modules read: seen $seen, expected 2 2 true" >&2
    exit 1
fi
echo "modules read with a count of 1, of -1, of -: 2, 2, an error that calls itself a bug"
