//! The bus policy that is installed, in force as on a system.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Output;

use vfiod::bus::authority::{Access, TABLE};
use vfiod::bus::serve::{Word, root};
use vfiod::names::action;

use crate::loops::{Loop, call, refused};
use crate::pictures;
use crate::private::{Bus, as_on_a_system};
use crate::proxy;

#[test]
fn polkit_has_each_action_for_administrators_and_no_other() {
    let file = format!("{}/packaging/polkit/org.vfiod1.policy", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let mut actions: Vec<_> = document.descendants().filter(|node| node.has_tag_name("action")).collect();
    actions.sort_by_key(|node| node.attribute("id"));
    let ids: Vec<_> = actions.iter().map(|node| node.attribute("id").unwrap()).collect();
    assert_eq!(ids, [action::HOLD, action::RELEASE, action::RELOAD, action::REPAIR]);
    let used = TABLE.iter().filter_map(|(_, _, access)| match access {
        Access::Action(action) => Some(*action),
        Access::Open => None,
    });
    assert_eq!(used.collect::<BTreeSet<_>>(), ids.into_iter().collect());
    for node in actions {
        let defaults = node.children().find(|child| child.has_tag_name("defaults")).unwrap();
        let said = defaults.children().filter(roxmltree::Node::is_element);
        let said: Vec<_> = said.map(|child| (child.tag_name().name(), child.text().unwrap())).collect();
        let all = ["allow_any", "allow_inactive", "allow_active"].map(|who| (who, "auth_admin"));
        assert_eq!(said, all, "{:?}", node.attribute("id"));
    }
}

/// Somebody who is not root.
const NOBODY: u32 = 65_534;

async fn as_nobody(bus: &Bus, arguments: &[&str]) -> Output {
    let mut send = bus.program("dbus-send");
    send.args(["--system", "--print-reply"]).args(arguments);
    if nix::unistd::geteuid().is_root() {
        send.uid(NOBODY).gid(NOBODY);
    }
    let done = tokio::task::spawn_blocking(move || send.output());
    done.await.unwrap().expect("dbus-send, of the package dbus-bin")
}

#[tokio::test]
async fn everybody_may_read_and_nobody_may_be_vfiod() {
    let bus = Bus::with(&as_on_a_system());
    let is_root = nix::unistd::geteuid().is_root();
    let mut vfiod = Loop::at(bus.address(), pictures::small(), root);
    let own = ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.RequestName", "string:org.vfiod1", "uint32:4"];
    let taken = as_nobody(&bus, &own).await;
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(said.contains("AccessDenied"), "{said}");
    match vfiod.word().await {
        Word::Up => assert!(is_root, "only root may own the name"),
        Word::Down(why) => {
            assert!(!is_root && why.contains("AccessDenied"), "{why}");
            return;
        }
        Word::NameTaken(by) => panic!("{by} has the name"),
    }
    let read = ["--dest=org.vfiod1", "/org/vfiod1/manager", "org.freedesktop.DBus.Properties.Get"];
    let read = as_nobody(&bus, &[&read[..], &["string:org.vfiod1.Manager", "string:Health"]].concat()).await;
    assert!(String::from_utf8_lossy(&read.stdout).contains("\"ready\""), "{read:?}");
    let client = bus.connect().await;
    proxy::picture(&client).await.unwrap();
    let (name, text) = refused(call(&client, "/org/vfiod1/manager", "org.example.Other", "Method", &()).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(text.contains("org.example.Other"), "the bus itself refuses it: {text}");
    let answer = client.call_method(Some("org.vfiod1"), "/org/vfiod1/manager", None::<&str>, "Pass", &()).await;
    assert_eq!(refused(answer).0, "org.freedesktop.DBus.Error.AccessDenied");
}
