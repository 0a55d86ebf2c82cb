//! Completions and the manual page: what is committed is what clap makes of the arguments now, with
//! what a person wrote around it. `UPDATE_EXPECT=1 cargo test --test cli generated` writes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use similar::TextDiff;
use vfiod::cli::arguments::Arguments;

use super::common::tree::{NIC, Tree};

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)
}

/// The arguments without what is hidden: no completion offers it.
fn command() -> clap::Command {
    let mut whole = Arguments::command();
    let hidden: Vec<String> =
        whole.get_subcommands().filter(|verb| verb.is_hide_set()).map(|verb| verb.get_name().to_owned()).collect();
    let mut shown = clap::Command::new("vfiodctl")
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .version(env!("CARGO_PKG_VERSION"));
    shown = shown.about(whole.get_about().cloned().unwrap_or_default());
    shown = shown.long_about(whole.get_long_about().cloned().unwrap_or_default());
    shown = shown.args(whole.get_arguments().cloned().collect::<Vec<_>>());
    let verbs: Vec<clap::Command> = whole.get_subcommands_mut().map(|verb| verb.clone()).collect();
    shown.subcommands(verbs.into_iter().filter(|verb| !hidden.contains(&verb.get_name().to_owned())))
}

fn completion(shell: impl Generator) -> String {
    let mut text = Vec::new();
    generate(shell, &mut command(), "vfiodctl", &mut text);
    String::from_utf8(text).unwrap()
}

/// What a person wrote is kept beside the generated part, in a file of its own.
fn tail(name: &str) -> String {
    std::fs::read_to_string(packaging("completions").join(name)).unwrap()
}

fn bash() -> String {
    // Placeholders are no words to complete.
    let text = completion(Bash);
    let mut out = String::new();
    for line in text.lines() {
        let kept: Vec<&str> = match line.trim_start().starts_with("opts=") {
            true => line.split(' ').filter(|word| !word.trim_end_matches('"').starts_with('[')).collect(),
            false => vec![line],
        };
        let mut kept = kept.join(" ");
        if kept.matches('"').count() == 1 {
            kept.push('"');
        }
        out += &format!("{kept}\n");
    }
    out + "\n" + &tail("devices.bash")
}

fn zsh() -> String {
    let text = completion(Zsh);
    let mut out = String::new();
    for line in text.lines() {
        let words = match line.trim_start().trim_start_matches(['\'', '"']).split(' ').next().unwrap_or_default() {
            word if word.contains("::device --") => "devices",
            _ if line.contains(":device -- ") || line.contains(":devices -- ") => "devices",
            _ if line.contains(":target -- ") => "targets",
            _ if line.contains(":modules -- ") => "modules",
            _ if line.contains(":id -- ") => "holds",
            _ => "",
        };
        let line = match words {
            "" => line.to_owned(),
            words => line.replace(":_default'", &format!(":_vfiodctl_words {words}'")),
        };
        out += &format!("{line}\n");
    }
    // The function must be there before the last lines call the completion.
    let at = out.find("if [ \"$funcstack[1]\"").unwrap();
    let (before, after) = out.split_at(at);
    format!("{before}{}\n{after}", tail("devices.zsh"))
}

fn fish() -> String {
    completion(Fish) + "\n" + &tail("devices.fish")
}

fn check(file: &str, now: &str) {
    let path = packaging(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = TextDiff::from_lines(committed.as_str(), now).unified_diff().header(file, "now").to_string();
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn the_completions_are_those_of_the_arguments() {
    check("completions/vfiodctl.bash", &bash());
    check("completions/_vfiodctl", &zsh());
    check("completions/vfiodctl.fish", &fish());
}

/// A program by the name of vfiodctl that completes devices from a tree.
fn with_program(tree: &Tree) -> PathBuf {
    let directory = tree.path().join("bin");
    std::fs::create_dir_all(&directory).unwrap();
    let script =
        format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", env!("CARGO_BIN_EXE_vfiodctl"), tree.path().display());
    std::fs::write(directory.join("vfiodctl"), script).unwrap();
    let file = directory.join("vfiodctl");
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

/// What bash offers for the last word of a command line; readline breaks words at colons.
fn offered(line: &str) -> Vec<String> {
    let tree = Tree::new();
    for address in ["0000:01:00.0", "0000:01:00.1", "0000:05:00.0"] {
        tree.add_device(super::common::tree::Device { address, ..NIC });
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let mut rest = word;
        while let Some(at) = rest.find(':') {
            words.extend([rest[..at].to_owned(), ":".to_owned()].into_iter().filter(|piece| !piece.is_empty()));
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() || !word.ends_with(':') {
            words.push(rest.to_owned());
        }
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let script = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={last}; COMP_LINE='{line}'; COMP_POINT={}; COMPREPLY=(); \
         _vfiodctl_completed vfiodctl \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        packaging("completions/vfiodctl.bash").display(),
        quoted.join(" "),
        line.len(),
        last.saturating_sub(1),
    );
    let path = format!("{}:{}", with_program(&tree).display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash").args(["--norc", "-c", &script]).env("PATH", path).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_knows_verbs_options_and_devices_colons_and_all() {
    assert_eq!(offered("vfiodctl rel"), ["release", "reload"]);
    assert_eq!(offered("vfiodctl show "), ["0000:01:00.0", "0000:01:00.1", "0000:05:00.0"]);
    // What readline has before the colon is not repeated.
    assert_eq!(offered("vfiodctl show 0000:01:00."), ["00.0", "00.1"]);
    assert_eq!(offered("vfiodctl repair 0000:05:00.0 0000:01:"), ["00.0", "00.1"]);
    assert_eq!(offered("vfiodctl hold a"), ["all"]);
    assert!(offered("vfiodctl show --lib").contains(&"--libvirt".to_owned()));
    assert!(offered("vfiodctl --json show 0000:0").contains(&"05:00.0".to_owned()));
    assert_eq!(offered("vfiodctl config g"), ["generate"]);
}

#[test]
fn the_manual_page_is_that_of_the_arguments() {
    let command = command();
    let man =
        Man::new(command.clone()).title("VFIODCTL").section("1").date("2026-11-20").manual("vfiod").source("vfiod");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut verbs = Roff::new();
    verbs.control("SH", ["COMMANDS"]);
    verbs.to_writer(&mut page).unwrap();
    for verb in command.get_subcommands() {
        verb_section(verb, "vfiodctl", &mut page);
    }
    let hand_written = std::fs::read_to_string(packaging("man/vfiodctl.1.in")).unwrap();
    let page = String::from_utf8(page).unwrap() + &hand_written;
    // Lines that end in blanks are a fault to mandoc, and so is a break beside an empty line.
    let page: String = page.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    // Each section brings the same preamble.
    let preamble = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    let page = format!("{preamble}{}", page.replace(preamble, ""));
    check("man/vfiodctl.1", &page);
}

fn verb_section(verb: &clap::Command, above: &str, page: &mut Vec<u8>) {
    let name = format!("{above} {}", verb.get_name());
    if verb.has_subcommands() {
        verb.get_subcommands().for_each(|below| verb_section(below, &name, page));
        return;
    }
    let mut roff = Roff::new();
    let usage = verb.clone().bin_name(&name).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    roff.control("SS", [usage.as_str()]);
    if let Some(about) = verb.get_long_about().or(verb.get_about()) {
        let about = about.to_string();
        // A long one ends with its full stop already.
        roff.text([roman(format!("{}.", about.trim_end_matches('.')))]);
    }
    for argument in verb.get_arguments().filter(|argument| !argument.is_global_set()) {
        let values = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        let flags: Vec<String> = argument
            .get_short()
            .map(|short| format!("-{short}"))
            .into_iter()
            .chain(argument.get_long().map(|long| format!("--{long}")))
            .collect();
        let takes = argument.get_action().takes_values();
        let head = match (flags.is_empty(), takes) {
            (true, _) => values,
            (false, true) => format!("{} {values}", flags.join(", ")),
            (false, false) => flags.join(", "),
        };
        roff.control("TP", []);
        roff.text([clap_mangen::roff::bold(head)]);
        roff.text([roman(argument.get_help().map(|help| format!("{help}.")).unwrap_or_default())]);
    }
    roff.to_writer(page).unwrap();
}

/// The keys of JSON objects, at any depth. Below maps by name, address or number, and below
/// settings, which are as vfiod.toml(5) tells, keys are data.
fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    const MAPS: [&str; 6] = ["entries", "devices", "groups", "members", "modules", "properties"];
    match value {
        serde_json::Value::Object(fields) => {
            for (key, below) in fields {
                found.insert(key.clone());
                match below {
                    serde_json::Value::Object(items) if MAPS.contains(&key.as_str()) => {
                        items.values().for_each(|item| keys(item, found));
                    }
                    _ if key == "settings" || key == "places" => {}
                    below => keys(below, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_json_stands_in_its_manual_page() {
    let page = std::fs::read_to_string(packaging("man/vfiod-json.7")).unwrap();
    let words: std::collections::BTreeSet<&str> =
        page.lines().filter(|line| line.contains("Va ")).flat_map(|line| line.split([' ', ','])).collect();
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/expected");
    let (mut found, mut files) = (std::collections::BTreeSet::new(), 0);
    for file in std::fs::read_dir(expected).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&file).unwrap();
            let json: String = text
                .lines()
                .filter(|line| !line.starts_with(['$', '!', '=']))
                .map(|line| format!("{line}\n"))
                .collect();
            let value: serde_json::Value =
                serde_json::from_str(&json).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert_eq!(value["schema"], 1, "{}", file.display());
            keys(&value, &mut found);
            files += 1;
        }
    }
    assert!(files >= 22, "only {files} fixtures of JSON");
    let missing: Vec<&String> = found.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "vfiod-json(7) does not tell of {missing:?}");
}

#[test]
fn the_readme_shows_what_the_commands_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let shown = readme.split("<!-- vfiodctl: begin").nth(1).and_then(|rest| rest.split("<!-- vfiodctl: end").next());
    let shown = shown.unwrap();
    for fixture in ["blocked-status", "blocked-list", "blocked-plan", "ready-history"] {
        let text = std::fs::read_to_string(root.join("tests/cli/expected").join(fixture)).unwrap();
        let text = text.rsplit_once("= ").unwrap().0;
        assert!(shown.contains(text.trim_end()), "README.md does not show {fixture} as it is now");
    }
}
