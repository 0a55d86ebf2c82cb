//! Imports run one way: `names ◄ model ◄ {config, host, bus} ◄ service ◄ bin`.
//!
//! Clippy holds the other half of the architecture (who may do I/O at all), see `clippy.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module at the root of the library, and what it may import besides itself.
const MAY_IMPORT: [(&str, &[&str]); 7] = [
    ("names", &[]),
    ("model", &["names"]),
    ("config", &["names", "model"]),
    ("host", &["names", "model"]),
    ("bus", &["names", "model"]),
    ("cli", &["names", "model", "config", "host", "bus"]),
    ("service", &["names", "model", "config", "host", "bus"]),
];

/// What the pure core never names: no I/O, no clock, no runtime, no logging.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "std::os",
    "std::thread",
    "SystemTime",
    "Instant::",
    "tokio::",
    "tracing::",
    "nix::",
    "procfs::",
    "println!",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The program text: without comments, and without the unit tests, which may use anything.
fn program(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names directly after a path that ends in `::`: one, or those of a braced group.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![name(rest)] };
    let (mut heads, mut depth, mut item) = (Vec::new(), 1, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            heads.push(name(&item));
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Whether `text` ends with a word boundary: `mycrate::` is not `crate::`.
fn at_boundary(text: &str) -> bool {
    !text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The modules at the root of the library that a program text names.
fn imports(program: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let climb = "super::".repeat(depth.max(1));
    for prefix in ["crate::", "vfiod::", climb.as_str()] {
        for (at, _) in program.match_indices(prefix) {
            if at_boundary(&program[..at]) {
                found.extend(heads(&program[at + prefix.len()..]));
            }
        }
    }
    found.retain(|name| MAY_IMPORT.iter().any(|(module, _)| module == name));
    found
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the steps of its module path: `model/pci.rs` is `[model, pci]`.
fn modules() -> Vec<(PathBuf, Vec<String>)> {
    let root = source_root();
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("below src").with_extension("");
            let mut steps: Vec<String> = relative.iter().map(|step| step.to_string_lossy().into_owned()).collect();
            if steps.last().is_some_and(|step| step == "mod") {
                steps.pop();
            }
            (path, steps)
        })
        .collect()
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (path, steps) in modules() {
        // The library's root declares the modules; the programs may use all of them.
        if matches!(steps[0].as_str(), "lib" | "bin") {
            continue;
        }
        let Some((module, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == steps[0]) else {
            wrong.push(format!("{}: {} has no place in the direction of imports", path.display(), steps[0]));
            continue;
        };
        for import in imports(&program(&path), steps.len()) {
            if import != *module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {module} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_model_names_nothing_impure() {
    let mut wrong = Vec::new();
    for (path, steps) in modules() {
        if matches!(steps[0].as_str(), "names" | "model") {
            let program = program(&path);
            let named =
                IMPURE.iter().filter(|word| program.match_indices(*word).any(|(at, _)| at_boundary(&program[..at])));
            wrong.extend(named.map(|word| format!("{}: {word}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_every_form_of_import() {
    let seen = |text: &str, depth| imports(text, depth).into_iter().collect::<Vec<_>>();
    assert_eq!(seen("use crate::host::root::Root;", 2), ["host"]);
    assert_eq!(seen("use crate::{\n    config::load,\n    host::{act, observe},\n};", 2), ["config", "host"]);
    assert_eq!(seen("fn f() { super::super::host::look() }", 2), ["host"]);
    assert_eq!(seen("fn f() { vfiod::service::run() }", 1), ["service"]);
    assert_eq!(seen("use super::pci::Address; use other_crate::host;", 2), [""; 0]);
}

#[test]
fn nothing_that_writes_names_the_files_that_remove_and_rescan() {
    // Both take the machine-wide lock, and a removal that waits for a holder keeps it: the writer would hang.
    let mut files = Vec::new();
    for writes in ["src/host/act", "src/service", "src/model", "src/names.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(writes);
        if path.is_dir() { sources(&path, &mut files) } else { files.push(path) }
    }
    assert!(files.len() > 50, "{files:?}");
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("tests")) {
        let text = program(file);
        for name in ["bus/pci/rescan", "/rescan\"", "/remove\"", "/remove}"] {
            assert!(!text.contains(name), "{}: {name}", file.display());
        }
    }
}
