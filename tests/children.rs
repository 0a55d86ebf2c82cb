//! Actors as processes, with shell scripts in their place.
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::stat::Mode;
use vfiod::host::act::NONE_CAME;
use vfiod::host::children::{Actors, Ended};
use vfiod::host::intent::{Intent, Store};
use vfiod::host::kernel;
use vfiod::host::process::Program;
use vfiod::model::plan::{Act, Key, Outcome, Step, Target};
use vfiod::model::time::Time;

const CHANGED: &str = r#"{"step":0,"outcome":{"outcome":"changed"}}"#;
const REFUSED: &str = r#"{"step":1,"outcome":{"outcome":"refused","why":"no"}}"#;
const BOOT: &str = "this-boot";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn acts(&self) -> BTreeSet<String> {
        fs::read_dir(self.path("acts")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A shell that runs a text, in which DIR is this place.
    fn script(&self, text: &str) -> Program {
        let text = text.replace("DIR", self.0.path().to_str().unwrap());
        Program { exe: PathBuf::from("/bin/sh"), args: vec!["-c".into(), text.into()] }
    }

    fn actors(&self, text: &str) -> Actors {
        let store = Store::open(self.path("acts")).unwrap();
        Actors::new(self.script(text), PathBuf::from("/sbin/modprobe"), store, BOOT.to_owned())
    }

    /// A fifo: whoever opens it waits until the other end is opened too.
    fn gate(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }
}

fn open(gate: &Path) {
    fs::OpenOptions::new().write(true).open(gate).unwrap().write_all(b"go\n").unwrap();
}

fn act(key: &str, addresses: &[&str]) -> Act {
    let functions: BTreeSet<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let target = Target { address: "0000:01:00.0".parse().unwrap(), object: 1 };
    let step = Step::Probe { target, driver: "vfio-pci".parse().unwrap() };
    Act { key: key.parse().unwrap(), functions, steps: vec![step.clone(), step] }
}

fn in_a_minute() -> Time {
    kernel::now() + Duration::from_secs(60)
}

async fn ended(actors: &mut Actors) -> Ended {
    tokio::time::timeout(Duration::from_secs(20), actors.next_ended()).await.unwrap()
}

#[tokio::test]
async fn the_intent_is_stored_with_the_actors_pid_before_the_errand_is_sent() {
    let place = Place::new();
    let mut actors = place.actors(&format!(
        "read start < /proc/$$/stat; read -r errand; read -r intent < DIR/acts/group-15.json
         echo \"$errand\" > DIR/errand; echo \"$intent\" > DIR/intent; echo $$ \"$start\" > DIR/stat
         echo '{CHANGED}'; echo '{REFUSED}'"
    ));
    let deadline = in_a_minute();
    let running = actors.begin(act("group-15", &["0000:01:00.0"]), deadline).await.unwrap();
    assert_eq!((running.act.key, running.deadline, running.adopted), (Key::Group(15), deadline, false));
    assert_eq!(actors.running().collect::<Vec<_>>(), vec![running.clone()]);

    let ended = ended(&mut actors).await;
    assert_eq!(ended.outcomes, [(0, Outcome::Changed), (1, Outcome::Refused { why: "no".to_owned() })]);
    assert_eq!((ended.late, &ended.trouble, ended.adopted), (false, &None, false));
    assert_eq!(ended.act, act("group-15", &["0000:01:00.0"]));
    assert_eq!(actors.running().count(), 0);
    assert_eq!(place.acts(), BTreeSet::new(), "both files are gone");

    let intent: Intent = serde_json::from_str(&place.text("intent")).unwrap();
    let stat = place.text("stat");
    let own: Vec<_> = stat.split_whitespace().collect();
    // After the pid: the line of /proc/<pid>/stat, whose 22nd field is the start time.
    assert_eq!((own[0], own[22]), (intent.pid.to_string().as_str(), intent.starttime.to_string().as_str()));
    assert_eq!((intent.pid, intent.deadline, intent.boot_id.as_str()), (running.pid, deadline, BOOT));
    let errand: vfiod::host::act::Errand = serde_json::from_str(&place.text("errand")).unwrap();
    assert_eq!((errand.act, errand.deadline), (ended.act, deadline));
    assert_eq!(errand.modprobe, PathBuf::from("/sbin/modprobe"));
}

#[tokio::test]
async fn an_actor_knows_nothing_of_the_daemons_environment() {
    let place = Place::new();
    let mut actors = place.actors("/usr/bin/env > DIR/env");
    actors.begin(act("modules", &[]), in_a_minute()).await.unwrap();
    ended(&mut actors).await;
    let names: BTreeSet<String> =
        place.text("env").lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned()).collect();
    let shells = ["_", "PWD", "OLDPWD", "SHLVL"].map(str::to_owned).into();
    assert_eq!(names.difference(&shells).count(), 0, "{names:?}");
}

#[tokio::test]
async fn a_second_actor_for_the_same_key_or_function_is_not_begun() {
    let place = Place::new();
    let gate = place.gate("gate");
    let mut actors = place.actors("read errand; read line < DIR/gate");
    actors.begin(act("group-1", &["0000:01:00.0", "0000:01:00.1"]), in_a_minute()).await.unwrap();
    let same = actors.begin(act("group-1", &["0000:02:00.0"]), in_a_minute()).await.unwrap_err();
    assert_eq!(same, "begin group-1: group-1 is still at work");
    let shared = actors.begin(act("modules", &["0000:01:00.1"]), in_a_minute()).await.unwrap_err();
    assert_eq!(shared, "begin modules: group-1 is still at work");
    open(&gate);
    ended(&mut actors).await;
}

#[tokio::test]
async fn an_actor_outlives_the_daemon_and_the_next_one_awaits_it() {
    let place = Place::new();
    let gate = place.gate("gate");
    let text = format!("read errand; echo '{CHANGED}'; read line < DIR/gate; echo '{REFUSED}'");
    let mut before = place.actors(&text);
    let begun = before.begin(act("group-0", &["0000:01:00.0"]), in_a_minute()).await.unwrap();
    drop(before);

    let mut after = place.actors("exit 9");
    let adopted = after.adopt();
    assert_eq!(adopted.trouble, Vec::<String>::new());
    assert_eq!(adopted.running, vec![vfiod::host::children::Running { adopted: true, ..begun }]);
    assert!(after.begin(act("group-7", &["0000:01:00.0"]), in_a_minute()).await.is_err(), "no second write");
    // Dropped before it is done, nothing is lost.
    tokio::select! {
        biased;
        ended = after.next_ended() => panic!("{ended:?}"),
        () = std::future::ready(()) => {}
    }
    open(&gate);
    let ended = ended(&mut after).await;
    assert_eq!(ended.outcomes.len(), 2);
    assert_eq!((ended.adopted, ended.late, ended.trouble), (true, false, None));
    assert_eq!(place.acts(), BTreeSet::new());
}

#[tokio::test]
async fn an_actor_that_died_meanwhile_is_told_with_what_it_said() {
    let place = Place::new();
    let store = Store::open(place.path("acts")).unwrap();
    // The pid is that of this test, the start time is not: somebody else's process now.
    for (key, pid) in [("group-3", std::process::id()), ("group-4", 4_194_303)] {
        let (started, deadline) = (Time(1), Time(2));
        let act = act(key, &[]);
        store.save(&Intent { act, started, deadline, boot_id: BOOT.to_owned(), pid, starttime: 1 }).unwrap();
        store.new_outcomes(key.parse().unwrap()).unwrap().write_all(CHANGED.as_bytes()).unwrap();
    }
    let mut actors = place.actors("exit 9");
    assert_eq!(actors.adopt().running.len(), 2, "their ends are still to be charged");
    for _ in 0..2 {
        let ended = ended(&mut actors).await;
        assert_eq!(ended.outcomes, [(0, Outcome::Changed)]);
        assert!(ended.late && ended.adopted);
        assert_eq!(ended.trouble.unwrap(), format!("actor {} ended after 1 of 2 steps", ended.key));
    }
    assert_eq!(place.acts(), BTreeSet::new());
}

#[tokio::test]
async fn an_actor_whose_daemon_was_killed_before_it_sent_the_errand_is_no_trouble() {
    let place = Place::new();
    let store = Store::open(place.path("acts")).unwrap();
    // As `begin` leaves it, with the real actor, whose input ends at once.
    let act = act("group-3", &["0000:01:00.0"]);
    let outcomes = store.new_outcomes(act.key).unwrap();
    let words = outcomes.try_clone().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod"));
    let mut actor = command.arg("act").stdin(Stdio::null()).stdout(outcomes).stderr(words).spawn().unwrap();
    let (started, deadline, boot_id) = (kernel::now(), in_a_minute(), BOOT.to_owned());
    store.save(&Intent { act, started, deadline, boot_id, pid: actor.id(), starttime: 1 }).unwrap();
    assert!(!actor.wait().unwrap().success());

    let mut actors = place.actors("exit 9");
    assert_eq!(actors.adopt().running.len(), 1);
    let ended = ended(&mut actors).await;
    assert_eq!((ended.outcomes, ended.adopted, ended.trouble), (Vec::new(), true, None));
    assert_eq!(place.acts(), BTreeSet::new());
}

#[tokio::test]
async fn an_own_actor_that_says_that_no_errand_came_is_trouble() {
    let place = Place::new();
    let mut actors = place.actors(&format!("read errand; echo 'vfiod: {NONE_CAME}' >&2; exit 1"));
    actors.begin(act("modules", &[]), in_a_minute()).await.unwrap();
    let trouble = ended(&mut actors).await.trouble.unwrap();
    assert!(trouble.starts_with("actor modules ended after 0 of 2 steps: exit status: 1: "), "{trouble}");
}

#[tokio::test]
async fn another_boots_intents_are_dropped_and_damaged_ones_set_aside() {
    let place = Place::new();
    let store = Store::open(place.path("acts")).unwrap();
    let (act, pid) = (act("modules", &[]), std::process::id());
    let boot_id = "another-boot".to_owned();
    store.save(&Intent { act, started: Time(1), deadline: Time(2), boot_id, pid, starttime: 1 }).unwrap();
    fs::write(place.path("acts/group-1.json"), "not json").unwrap();
    let mut actors = place.actors("exit 9");
    let adopted = actors.adopt();
    assert_eq!((adopted.running.len(), adopted.trouble.len()), (0, 1), "{adopted:?}");
    assert_eq!(place.acts(), BTreeSet::from(["group-1.json.damaged".to_owned()]));
    assert_eq!(actors.running().count(), 0);
}

#[tokio::test]
async fn an_actor_that_dies_is_said_with_its_exit_status_and_leaves_no_zombie() {
    let place = Place::new();
    let mut actors = place.actors("read errand; echo why >&2; exit 3");
    let running = actors.begin(act("modules", &[]), in_a_minute()).await.unwrap();
    assert_eq!(
        ended(&mut actors).await.trouble.unwrap(),
        "actor modules ended after 0 of 2 steps: exit status: 3: why"
    );
    assert!(!Path::new("/proc").join(running.pid.to_string()).exists());
}

#[tokio::test]
async fn an_act_whose_intent_cannot_be_stored_is_not_begun() {
    let place = Place::new();
    // A shell without an errand ends; with one it would leave a trace.
    let mut actors = place.actors("read errand && : > DIR/begun");
    fs::create_dir_all(place.path("acts/modules.draft/in-the-way")).unwrap();
    let why = actors.begin(act("modules", &[]), in_a_minute()).await.unwrap_err();
    assert!(why.starts_with("begin modules: write "), "{why}");
    assert_eq!(actors.running().count(), 0);
    assert!(!place.path("begun").exists());
}

#[tokio::test]
async fn a_late_actor_is_told_as_late() {
    let place = Place::new();
    let mut actors = place.actors(&format!("read errand; echo '{CHANGED}'; echo '{REFUSED}'"));
    actors.begin(act("modules", &[]), Time(1)).await.unwrap();
    assert!(ended(&mut actors).await.late);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    let store = Store::open(place.path("acts")).unwrap();
    let program = Program { exe: PathBuf::from("/nowhere/vfiod"), args: Vec::new() };
    let mut actors = Actors::new(program, PathBuf::new(), store, BOOT.to_owned());
    let why = actors.begin(act("modules", &[]), in_a_minute()).await.unwrap_err();
    assert!(why.starts_with("begin modules: run /nowhere/vfiod: No such file"), "{why}");
    assert_eq!(actors.adopt().trouble, Vec::<String>::new());
    assert_eq!(place.acts(), BTreeSet::new(), "swept up");
}

#[test]
fn a_child_has_its_programs_name_whatever_it_was_run_as() {
    let place = Place::new();
    for (program, verb, name) in [
        (env!("CARGO_BIN_EXE_vfiod"), "look", "vfiod"),
        (env!("CARGO_BIN_EXE_vfiod"), "check", "vfiod"),
        (env!("CARGO_BIN_EXE_vfiod"), "cmdline", "vfiod"),
        (env!("CARGO_BIN_EXE_vfiod"), "act", "vfiod-act"),
        (env!("CARGO_BIN_EXE_vfiodctl"), "look", "vfiodctl"),
        (env!("CARGO_BIN_EXE_vfiodctl"), "texts", "vfiodctl"),
    ] {
        // As /proc/self/exe has it: the kernel takes the name of the file that was run.
        let exe = place.path("exe");
        let _ = fs::remove_file(&exe);
        std::os::unix::fs::symlink(program, &exe).unwrap();
        let mut command = Command::new(&exe);
        let command = command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"nonsense\n").unwrap();
        // It has ended, and is not reaped: its name is still to be read.
        std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        let found = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        child.wait().unwrap();
        assert_eq!(found.trim_end(), name, "{program} {verb}");
    }
}
