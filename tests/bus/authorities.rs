//! Who may do what: polkit in all its moods.

use std::time::Duration;

use vfiod::bus::authority::{Access, TABLE};
use vfiod::bus::call::{Answer, Ask};
use vfiod::names::action;
use zbus::message::Flags;
use zbus::{Connection, Message};

use crate::loops::{Loop, call, refused, soon};
use crate::pictures;
use crate::polkit::{Heard, Mode, Polkit};
use crate::private::Bus;
use crate::proxy::{self, Options};

const MANAGER: (&str, &str) = ("/org/vfiod1/manager", "org.vfiod1.Manager");

fn nobody(_uid: u32) -> bool {
    false
}

fn everybody(_uid: u32) -> bool {
    true
}

fn none() -> Options<'static> {
    Options::new()
}

/// Calls a method of the table with arguments that fit.
async fn called(from: &Connection, interface: &str, method: &str) -> zbus::Result<Message> {
    let path = match interface.rsplit('.').next().unwrap() {
        "Manager" => MANAGER.0,
        "Entry" => "/org/vfiod1/entry/gpu_2d0",
        "Device" => "/org/vfiod1/device/pci_0000_01_00_0",
        _ => "/org/vfiod1/module/vfio_pci",
    };
    match (interface, method) {
        (_, "Hold") => call(from, path, interface, method, &("all", "me", "so", 0_u64, none())).await,
        (_, "Inhibit") => call(from, path, interface, method, &("all", "me", "so", none())).await,
        (_, "Unhold") => call(from, path, interface, method, &(3_u64, none())).await,
        (_, "History") => call(from, path, interface, method, &(3_u32, none())).await,
        ("org.vfiod1.Manager", "Check" | "ResetFailed") => call(from, path, interface, method, &("", none())).await,
        ("org.vfiod1.Manager", "Repair" | "LoadModules") => {
            call(from, path, interface, method, &(Vec::<String>::new(), none())).await
        }
        _ => call(from, path, interface, method, &none()).await,
    }
}

fn own() -> impl Iterator<Item = (&'static str, &'static str, Access)> {
    TABLE.into_iter().filter(|(interface, _, _)| interface.starts_with("org.vfiod1."))
}

#[tokio::test]
async fn where_polkit_says_no_nothing_that_changes_something_reaches_the_loop() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::No).await;
    let (_vfiod, mut asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    for (interface, method, access) in own() {
        let answer = called(&client, interface, method).await;
        match access {
            Access::Open => {
                answer.unwrap_or_else(|error| panic!("{interface}.{method}: {error}"));
                while asks.try_recv().is_ok() {}
            }
            Access::Action(action) => {
                assert_eq!(refused(answer).0, "org.freedesktop.DBus.Error.AccessDenied", "{interface}.{method}");
                assert!(asks.try_recv().is_err(), "{interface}.{method} reached the loop");
                let Heard::Check { caller, action: asked, interactive, .. } = polkit.hears().await else {
                    panic!("no check");
                };
                assert_eq!((&*asked, interactive), (action, false));
                assert_eq!(caller, client.unique_name().unwrap().as_str());
            }
        }
    }
    assert!(polkit.heard.try_recv().is_err(), "polkit was asked for a method that only reads");
}

#[tokio::test]
async fn where_polkit_says_yes_each_method_reaches_the_loop() {
    let bus = Bus::start();
    let _polkit = Polkit::on(&bus, Mode::Yes).await;
    let (_vfiod, mut asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    for (interface, method, access) in own() {
        called(&client, interface, method).await.unwrap_or_else(|error| panic!("{interface}.{method}: {error}"));
        let reached = asks.try_recv().is_ok();
        assert!(reached || access == Access::Open, "{interface}.{method}");
    }
}

#[tokio::test]
async fn a_trusted_user_never_asks_polkit() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::No).await;
    let (_vfiod, _asks) = Loop::on(&bus, pictures::small(), everybody).await.answer_all();
    let client = bus.connect().await;
    for (interface, method, _) in own() {
        called(&client, interface, method).await.unwrap_or_else(|error| panic!("{interface}.{method}: {error}"));
    }
    assert!(polkit.heard.try_recv().is_err());
}

#[tokio::test]
async fn an_error_and_the_absence_of_polkit_deny() {
    let bus = Bus::start();
    let (_vfiod, mut asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    let (name, text) = refused(called(&client, MANAGER.1, "Pass").await);
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(text.starts_with("org.vfiod1.repair is not authorised: polkit cannot be asked: "), "{text}");
    let _polkit = Polkit::on(&bus, Mode::Error).await;
    let (name, text) = refused(called(&client, MANAGER.1, "Pass").await);
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(text.ends_with("the rules do not parse"), "{text}");
    assert!(asks.try_recv().is_err());
}

#[tokio::test]
async fn a_password_is_asked_for_only_where_the_call_allows_it() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::Challenge).await;
    let (_vfiod, _asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    let (name, _) = refused(called(&client, MANAGER.1, "Pass").await);
    assert_eq!(name, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
    assert!(matches!(polkit.hears().await, Heard::Check { interactive: false, .. }));
    proxy::ManagerProxy::new(&client).await.unwrap().pass(none()).await.unwrap();
    assert!(matches!(polkit.hears().await, Heard::Check { interactive: true, .. }));
}

#[tokio::test]
async fn a_hung_polkit_denies_in_time_and_stops_nobody_else() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::Hang).await;
    let (_vfiod, mut asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.call_method(Some("org.vfiod1"), MANAGER.0, Some(MANAGER.1), "Pass", &none()).await }
    });
    let Heard::Check { id, action: asked, .. } = polkit.hears().await else { panic!("no check") };
    assert_eq!(asked, action::REPAIR);
    // Reads and questions are answered meanwhile, to the same caller too.
    proxy::picture(&client).await.unwrap();
    called(&client, MANAGER.1, "Plan").await.unwrap();
    assert_eq!(asks.recv().await, Some(Ask::Plan));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    let (name, text) = refused(soon(asking).await.unwrap());
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(text.ends_with("polkit has not answered within 30 s"), "{text}");
    assert_eq!(polkit.hears().await, Heard::Cancel(id));
    assert!(asks.try_recv().is_err());
}

#[tokio::test]
async fn a_caller_that_leaves_while_polkit_thinks_is_forgotten() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::Hang).await;
    let (_vfiod, mut asks) = Loop::on(&bus, pictures::small(), nobody).await.answer_all();
    let client = bus.connect().await;
    let hold = Message::method_call(MANAGER.0, "Hold").destination("org.vfiod1").interface(MANAGER.1);
    client.send(&hold.build(&("all", "me", "so", 0_u64, none())).unwrap()).await.unwrap();
    let Heard::Check { id, .. } = polkit.hears().await else { panic!("no check") };
    client.close().await.unwrap();
    assert_eq!(polkit.hears().await, Heard::Cancel(id));
    // Neither the hold nor its end has reached the loop: what does now is the next thing.
    let another = bus.connect().await;
    called(&another, MANAGER.1, "Plan").await.unwrap();
    assert_eq!(asks.recv().await, Some(Ask::Plan));
}

#[tokio::test]
async fn a_user_who_is_not_trusted_has_so_many_calls_on_however_many_connections() {
    let bus = Bus::start();
    let mut polkit = Polkit::on(&bus, Mode::Hang).await;
    let mut vfiod = Loop::on(&bus, pictures::small(), nobody).await;
    let pass = || {
        let pass = Message::method_call(MANAGER.0, "Pass").destination("org.vfiod1").interface(MANAGER.1);
        pass.with_flags(Flags::NO_REPLY_EXPECTED).build(&none()).unwrap()
    };
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = bus.connect().await;
        for _ in 0..4 {
            client.send(&pass()).await.unwrap();
        }
        clients.push(client);
    }
    for _ in 0..16 {
        assert!(matches!(polkit.hears().await, Heard::Check { .. }));
    }
    let client = bus.connect().await;
    let (name, text) = refused(called(&client, MANAGER.1, "Pass").await);
    assert_eq!(name, "org.vfiod1.Error.LimitsExceeded");
    assert!(text.starts_with("16 calls of "), "{text}");
    proxy::picture(&client).await.unwrap();
    // As soon as one of them leaves, there is room again.
    clients.pop();
    let mut cancelled = 0;
    while cancelled < 4 {
        cancelled += u32::from(matches!(polkit.hears().await, Heard::Cancel(_)));
    }
    let asking = tokio::spawn(async move { called(&client, MANAGER.1, "Plan").await });
    vfiod.call().await.reply.send(Ok(Answer::Text("{}".into()))).unwrap();
    soon(asking).await.unwrap().unwrap();
}
