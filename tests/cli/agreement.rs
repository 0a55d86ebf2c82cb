//! All commands, and what the daemon would publish, say the same of each device, on every machine that the tests know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::machines::machines;
use super::support::command::{terminal, vfiodctl};
use super::written;

/// The trees of the reported machines, of the preflight check's cases, and of the plans' cases with their configuration.
fn trees() -> Vec<(PathBuf, Option<PathBuf>)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let directories = ["preflight", "cases"].iter().flat_map(|name| fs::read_dir(tests.join(name)).unwrap());
    let cases = directories.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let cases = cases.map(|case| (case.join("tree"), Some(case.join("vfiod.toml")).filter(|file| file.exists())));
    machines().into_iter().map(|tree| (tree, None)).chain(cases).collect()
}

async fn ask(root: &str, words: &[&str]) -> Value {
    let whole: Vec<&str> = ["--root", root, "--json"].iter().chain(words).copied().collect();
    let done = vfiodctl(&whole, &terminal()).await;
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{words:?}: {error}: {done:?}"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What the commands say of one machine.
struct Said {
    /// `list --all`, by address.
    list: BTreeMap<String, Value>,
    groups: Value,
    check: Value,
    plan: Value,
    status: Value,
}

impl Said {
    async fn of(root: &str) -> Said {
        let list = ask(root, &["list", "--all"]).await;
        let by_address = |device: &Value| (text(device, "address").to_owned(), device.clone());
        Said {
            list: list["devices"].as_array().unwrap().iter().map(by_address).collect(),
            groups: ask(root, &["groups"]).await["groups"].clone(),
            check: ask(root, &["check"]).await,
            plan: ask(root, &["plan"]).await,
            status: ask(root, &["status"]).await,
        }
    }

    /// The codes of the check's blockers of a device, its group's and the host's among them.
    fn blockers(&self, address: &str) -> BTreeSet<&str> {
        let group = &self.check["devices"][address]["group"];
        let findings = self.check["findings"].as_array().unwrap().iter();
        let of = |finding: &&Value| match &finding["about"] {
            Value::String(_) => true,
            about => about["device"] == *address || (!group.is_null() && about["group"] == *group),
        };
        findings
            .filter(|finding| finding["severity"] == "blocker")
            .filter(of)
            .map(|finding| text(finding, "code"))
            .collect()
    }

    /// What one device's words contradict, each in a sentence.
    fn contradictions(&self, address: &str, show: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, sentence: String| {
            if !holds {
                found.push(sentence);
            }
        };
        let (listed, checked) = (&self.list[address], &self.check["devices"][address]);
        let shown = &show["devices"][address];
        for field in ["driver", "group", "state", "entry", "wanted", "reason"] {
            must(listed[field] == shown[field], format!("{field}: list {}, show {}", listed[field], shown[field]));
        }
        must(
            listed["driver"] == checked["driver"],
            format!("driver: list {}, check {}", listed["driver"], checked["driver"]),
        );
        // Of what makes no sense the daemon shows less than the check.
        let unread = texts(&checked["codes"]).contains("unreadable");
        must(
            listed["group"] == checked["group"] || unread && listed["group"].is_null(),
            format!("group: list {}, check {}", listed["group"], checked["group"]),
        );
        let published = &self.status["devices"][address];
        must(
            published.is_null() || published["state"] == listed["state"],
            format!("state: published {}, list {}", published["state"], listed["state"]),
        );
        let blockers = self.blockers(address);
        let state = text(listed, "state");
        must(
            !matches!(state, "ready" | "assigned") || blockers.is_empty(),
            format!("{state}, and check: {blockers:?}"),
        );
        // A module on a blacklist is loaded by name all the same, but not by vfiod unless that is asked for.
        let blacklisted = text(listed, "reason").contains("blacklist");
        must(
            state != "blocked" || !blockers.is_empty() || blacklisted,
            format!("blocked, and check has no blocker: {}", text(listed, "reason")),
        );
        let acts = self.plan["acts"].as_array().unwrap();
        let steps = acts.iter().flat_map(|act| texts(&act["steps"]));
        let acted_on = steps.into_iter().any(|step| step.starts_with(address));
        must(
            !acted_on || !matches!(state, "ready" | "assigned" | "blocked" | "held" | "unmanaged" | ""),
            format!("{state}, and plan acts on it"),
        );
        if checked["role"] != "endpoint" {
            return found;
        }
        let assignable = checked["assignable"] == true;
        must(!assignable || blockers.is_empty(), format!("assignable, and blocked by {blockers:?}"));
        let Some(number) = checked["group"].as_u64() else { return found };
        let group = &self.groups[number.to_string()];
        let word = text(group, "state");
        let of_show = &show["groups"][number.to_string()];
        must(text(of_show, "state") == word, format!("group: groups {word}, show {}", text(of_show, "state")));
        // What else keeps a group from guests than the drivers in it `groups` adds by its codes.
        let reported = text(&self.check["groups"][number.to_string()], "state");
        must(
            reported == word || word == "blocked" && !texts(&group["codes"]).is_empty() || unread && group.is_null(),
            format!("group: groups {word}, check {reported}"),
        );
        // Where it is alone in the way of the others, nothing is in its own; and what is behind a controller goes when that is taken.
        let behind = |blocker: &&str| blocker.split(':').next().is_some_and(|domain| domain.len() > 4);
        let in_its_way =
            texts(&group["blockers"]).into_iter().filter(|other| !other.starts_with(address) && !behind(other));
        let alone = in_its_way.count() == 0;
        must(
            !assignable
                || matches!(word, "ready" | "host" | "unbound")
                || (matches!(word, "shared" | "blocked") && alone),
            format!("assignable, and its group {word}"),
        );
        must(
            matches!(word, "shared" | "blocked" | "unknown") || blockers.is_empty(),
            format!("group {word}, and check: {blockers:?}"),
        );
        let told: BTreeSet<&str> =
            blockers.iter().copied().filter(|code| !matches!(*code, "group-shared" | "functions-split")).collect();
        let codes = texts(&group["codes"]);
        must(told.is_subset(&codes), format!("check: {told:?}, groups: {codes:?}"));
        found
    }
}

#[tokio::test]
async fn all_commands_say_the_same_of_each_device() {
    let trees = trees();
    assert!(trees.len() > 120, "only {} machines", trees.len());
    let (mut wrong, mut devices) = (String::new(), 0);
    for (file, settings) in trees {
        let tree = written::unpack(&file);
        if let Some(settings) = settings {
            fs::create_dir_all(tree.path().join("etc/vfiod")).unwrap();
            fs::copy(settings, tree.path().join("etc/vfiod/vfiod.toml")).unwrap();
        }
        let root = tree.path().to_str().unwrap();
        let said = Said::of(root).await;
        let name = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
        let checked: BTreeSet<&String> = said.check["devices"].as_object().unwrap().keys().collect();
        let listed: BTreeSet<&String> = said.list.keys().collect();
        if checked != listed {
            wrong += &format!("{name}: check knows {checked:?}, list {listed:?}\n");
        }
        for address in checked.intersection(&listed) {
            devices += 1;
            let show = ask(root, &["show", address]).await;
            for sentence in said.contradictions(address, &show) {
                wrong += &format!("{name}: {address}: {sentence}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(devices > 300, "only {devices} devices");
}
