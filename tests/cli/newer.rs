//! A daemon of a newer version than the command: words and shapes that this one does not know.

use serde_json::Value;
use vfiod::cli::run::Surroundings;

use super::reading::READY;
use super::support::bus::Bus;
use super::support::command::{Done, terminal, vfiodctl};
use super::support::daemon::Daemon;

async fn told(bus: &Bus, words: &[&str]) -> Done {
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    vfiodctl(words, &around).await
}

#[tokio::test]
async fn a_word_that_is_not_known_is_never_good_and_goes_through_as_json() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, READY).await;
    let newer = READY.replace("\"state\": \"ready\"", "\"state\": \"polished\", \"shine\": [1, {}]");
    let newer = newer.replace("\"state\": \"live\"", "\"state\": \"resting\"");
    assert!(newer.contains("polished") && newer.contains("resting"));
    daemon.script.lock().unwrap().picture.clone_from(&newer);
    let json = told(&bus, &["status", "--json"]).await;
    let same: (Value, Value) = (serde_json::from_str(&json.out).unwrap(), serde_json::from_str(&newer).unwrap());
    assert_eq!((json.status, &same.0), (0, &same.1));
    for words in [&["wait", "--timeout", "2s"][..], &["wait", "nic0", "--timeout", "2s"]] {
        let waited = told(&bus, words).await;
        assert_eq!(waited.status, 1, "{waited:?}");
        assert!(waited.out.contains("unknown"), "{waited:?}");
    }
    let health = newer.replace("\"health\": \"ready\"", "\"health\": \"splendid\"");
    daemon.script.lock().unwrap().picture = health;
    assert_eq!(told(&bus, &["status"]).await.status, 1);
    assert_eq!(told(&bus, &["status", "--json"]).await.status, 1);
}

#[tokio::test]
async fn plans_and_reports_of_a_newer_daemon_are_read_as_far_as_they_go() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, READY).await;
    let held = r#"{"about":"0000:01:00.0","guard":"asleep","reason":"so","not_before_usec":0}"#;
    let plan = format!(r#"{{"schema":1,"mode":"later","acts":[],"held":[{held}],"also_binds":[],"new":{{"a":[]}}}}"#);
    daemon.script.lock().unwrap().plan.clone_from(&plan);
    let json = told(&bus, &["plan", "--json"]).await;
    let same: (Value, Value) = (serde_json::from_str(&json.out).unwrap(), serde_json::from_str(&plan).unwrap());
    assert_eq!((json.status, &same.0), (1, &same.1));
    let text = told(&bus, &["plan"]).await;
    assert!(text.status == 1 && text.out.contains("held back: 0000:01:00.0 (unknown)"), "{text:?}");
    let finding = r#"{"severity":"dire","about":"host","code":"gremlins","why":"They are in.","evidence":[],"remedy":[],"page":""}"#;
    let verdict = r#"{"ids":"10de:2684","class":196608,"role":"oracle","driver":null,"group":null,"iommu":"abacus",
        "passthrough_id":null,"assignable":false,"predicted":{"opens":false,"stage":"dance","errno":null},"codes":["gremlins"]}"#;
    let report = format!(
        r#"{{"schema":1,"kernel":"9.0","iommu":["abacus"],"devices":{{"0000:01:00.0":{verdict}}},"groups":{{}},"findings":[{finding}]}}"#
    );
    daemon.script.lock().unwrap().report.clone_from(&report);
    let json = told(&bus, &["check", "--json"]).await;
    assert!(json.status == 1 && json.out.contains("\"code\": \"gremlins\""), "{json:?}");
    let text = told(&bus, &["check"]).await;
    assert!(text.status == 1 && text.out.contains("unknown unknown: They are in."), "{text:?}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_says_whose_versions_differ_and_ends_a_wait() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, READY).await;
    let mut newer: Value = serde_json::from_str(READY).unwrap();
    newer["version"] = "9.9.9".into();
    newer["entries"] = 7.into();
    daemon.script.lock().unwrap().picture = newer.to_string();
    let whose = format!("the daemon is vfiod 9.9.9, this is vfiodctl {}", env!("CARGO_PKG_VERSION"));
    for words in [&["status"][..], &["list"], &["wait"], &["plan"], &["plan", "--json"]] {
        let done = told(&bus, words).await;
        assert!(done.status == 1 && done.err.contains(&whose), "{words:?}: {done:?}");
    }
    assert_eq!(told(&bus, &["status", "--json"]).await.status, 0);
    daemon.script.lock().unwrap().picture = "no JSON at all".to_owned();
    let wait = told(&bus, &["wait"]).await;
    assert!(wait.status == 1 && wait.err.contains("the daemon is perhaps of another version"), "{wait:?}");
}
