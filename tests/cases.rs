//! Directory cases: a machine and a configuration, and what vfiod makes of them.
//!
//! A directory of `tests/cases` has the machine in `tree` (see `common/written.rs`), the
//! configuration in `vfiod.toml`, and the plan and the public picture in `expected`. The machine is
//! read as the saved tree of a user is: no holder, route or disk can be told from it.
//! `UPDATE_EXPECT=1 cargo test --test cases` writes what comes of each now.

#[path = "common/written.rs"]
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use similar::TextDiff;
use vfiod::config::{self, Settings};
use vfiod::host::look::ask::Ask;
use vfiod::host::look::look::look;
use vfiod::host::observe::Observer;
use vfiod::host::port::{Closer, Found, Scope};
use vfiod::host::root::Root;
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::plan::Plan;
use vfiod::model::status::Status;
use vfiod::model::time::Time;
use vfiod::service::seen::Seen;

struct Case {
    observer: Observer,
    keeper: Keeper,
    now: Time,
}

impl Case {
    fn new(root: &Path) -> Case {
        let Settings { desired, policy, .. } = config::load(root, None).unwrap_or_else(|errors| panic!("{errors}"));
        let observer = Observer::new(Root::hostile(root).unwrap());
        Case { observer, keeper: Keeper::new(desired, policy, Memory::default()), now: Time::BOOT }
    }

    /// One pass, in the loop's order: observe, learn, decide, look closer until nothing is open.
    fn pass(&mut self) -> (Plan, Status) {
        self.now = self.now + Duration::from_secs(1);
        let (mut seen, mut besides, mut pins_due) = (Seen::default(), BTreeSet::new(), true);
        loop {
            let mut snapshot = self.observer.observe(
                Scope {
                    desired: &self.keeper.desired,
                    policy: &self.keeper.policy,
                    needs_vfio: self.keeper.needs_vfio(),
                    besides: &besides,
                },
                self.now,
            );
            seen.show(&mut snapshot);
            let pass = self.keeper.learn(&snapshot, self.now);
            let plan = self.keeper.decide(&pass);
            let mut closer = Closer {
                looks: plan.look.union(&self.keeper.perhaps_open(&pass, pins_due)).copied().collect(),
                pins: snapshot
                    .functions
                    .keys()
                    .filter(|a| pins_due && self.keeper.declares(&pass, **a))
                    .copied()
                    .collect(),
                serials: self.keeper.unread_serials(&pass, false),
                pinned: plan.look_for_pinned && seen.pinned.is_none(),
            };
            closer.serials.retain(|address| !seen.serials.contains(address));
            closer.looks.retain(|address| !seen.asked.contains(address));
            if closer.is_empty() {
                let status = self.keeper.status(&pass, &plan);
                return (plan, status);
            }
            pins_due = false;
            let found = self.look(&closer);
            seen.add(closer, found);
            besides = seen.pinned.iter().flat_map(|pinned| pinned.is()).flatten().map(|(a, _)| *a).collect();
        }
    }

    /// What the child of the live host does, in this process: on a tree nothing blocks.
    fn look(&mut self, closer: &Closer) -> Found {
        let looked = look(self.observer.root(), &Ask::of(closer, Duration::from_secs(5)));
        self.observer.take_in(looked)
    }
}

/// Inode numbers are another machine's every time.
fn forget_objects(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("object");
            fields.values_mut().for_each(forget_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_objects),
        _ => {}
    }
}

fn outcome(case: &Path) -> String {
    let tree = written::unpack(&case.join("tree"));
    let settings = tree.path().join("etc/vfiod/vfiod.toml");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::copy(case.join("vfiod.toml"), settings).unwrap();
    let mut machine = Case::new(tree.path());
    let (first, _) = machine.pass();
    let (plan, status) = machine.pass();
    assert_eq!(first, plan, "{}: a second pass decides otherwise", case.display());
    let mut whole = json!({ "plan": plan, "status": status, "line": status.line() });
    forget_objects(&mut whole);
    format!("{}\n", serde_json::to_string_pretty(&whole).unwrap())
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn each_machine_gives_the_plan_and_the_picture_beside_it() {
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases found", cases.len());
    let mut differ = String::new();
    for case in &cases {
        let (file, now) = (case.join("expected"), outcome(case));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, &now).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != now {
            let name = file.display().to_string();
            differ += &TextDiff::from_lines(&expected, &now).unified_diff().header(&name, "now").to_string();
        }
    }
    assert!(differ.is_empty(), "{differ}");
}
