//! What goes wrong on a bus: it restarts, the name is taken, callers leave.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use vfiod::bus::call::{Answer, Ask, Target};
use vfiod::bus::serve::{Word, root};
use vfiod::model::state::{Health, State};
use zbus::fdo::{DBusProxy, RequestNameFlags};
use zbus::names::WellKnownName;
use zbus::{Connection, Message};

use crate::door::Door;
use crate::loops::{Loop, call, soon};
use crate::pictures;
use crate::private::Bus;
use crate::proxy::{self, ManagerProxy, Options};

const MANAGER: (&str, &str) = ("/org/vfiod1/manager", "org.vfiod1.Manager");

fn everybody(_uid: u32) -> bool {
    true
}

fn none() -> Options<'static> {
    HashMap::new()
}

/// A call whose answer nobody waits for here.
async fn sent(by: &Connection, method: &str, body: &(impl serde::Serialize + zbus::DynamicType)) {
    let message = Message::method_call(MANAGER.0, method).destination("org.vfiod1").interface(MANAGER.1);
    by.send(&message.build(body).unwrap()).await.unwrap();
}

fn hold() -> (&'static str, &'static str, &'static str, u64, Options<'static>) {
    ("all", "me", "so", 0, none())
}

fn down(word: Word) -> String {
    match word {
        Word::Down(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_bus_it_waits_for_one_and_says_so_once() {
    let mut bus = Bus::start();
    bus.kill();
    let mut vfiod = Loop::at(bus.address(), pictures::small(), root);
    let why = down(vfiod.word().await);
    assert!(!why.is_empty());
    // Some attempts later nothing more has been said.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    bus.start_again();
    assert_eq!(vfiod.word().await, Word::Up);
    proxy::picture(&bus.connect().await).await.unwrap();
}

#[tokio::test]
async fn a_bus_that_restarts_is_served_anew_with_all_objects() {
    let mut bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), root).await;
    let before = bus.connect().await;
    proxy::picture(&before).await.unwrap();
    for round in 0..3 {
        bus.kill();
        down(vfiod.word().await);
        // What changes meanwhile is what the next bus sees.
        vfiod.show(|picture| picture.counters.passes = 1_000 + round);
        vfiod.counters.send(vfiod.latest().counters).unwrap();
        let gpu = "0000:01:00.0".parse().unwrap();
        vfiod.show(|picture| picture.devices.get_mut(&gpu).unwrap().state = State::Drifted);
        bus.start_again();
        assert_eq!(vfiod.word().await, Word::Up);
        let picture = proxy::picture(&bus.connect().await).await.unwrap();
        assert_eq!(&picture, &vfiod.latest());
    }
}

#[tokio::test]
async fn a_connection_that_ends_again_and_again_is_told_once_until_one_lasts_or_none_is_to_be_had() {
    let bus = Bus::start();
    let door = Door::before(&bus);
    let mut vfiod = Loop::at(door.address(), pictures::small(), root);
    assert_eq!(vfiod.word().await, Word::Up);
    door.slam();
    down(vfiod.word().await);
    for _ in 0..3 {
        assert_eq!(vfiod.word().await, Word::Up);
        door.slam();
    }
    assert_eq!(vfiod.word().await, Word::Up);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    door.slam();
    down(vfiod.word().await);
    assert_eq!(vfiod.word().await, Word::Up);
    door.shut();
    down(vfiod.word().await);
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_once_and_had_as_soon_as_it_is_free() {
    let bus = Bus::start();
    let other = bus.connect().await;
    let name = WellKnownName::try_from("org.vfiod1").unwrap();
    let daemon = DBusProxy::new(&other).await.unwrap();
    daemon.request_name(name.clone(), RequestNameFlags::DO_NOT_QUEUE).await.unwrap();
    let mut vfiod = Loop::at(bus.address(), pictures::small(), root);
    assert_eq!(vfiod.word().await, Word::NameTaken(other.unique_name().unwrap().to_string()));
    vfiod.show(|picture| picture.health = Health::Blocked);
    daemon.release_name(name).await.unwrap();
    assert_eq!(vfiod.word().await, Word::Up);
    let health = ManagerProxy::new(&other).await.unwrap().health().await.unwrap();
    assert_eq!(health, "blocked");
    assert!(vfiod.words.try_recv().is_err());
}

#[tokio::test]
async fn it_ends_with_the_loop_with_a_bus_and_without() {
    let mut bus = Bus::start();
    Loop::on(&bus, pictures::small(), root).await.end().await;
    bus.kill();
    let mut vfiod = Loop::at(bus.address(), pictures::small(), root);
    down(vfiod.word().await);
    vfiod.end().await;
}

#[tokio::test]
async fn a_caller_that_leaves_while_the_loop_works_takes_its_answer_and_its_holds_along() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    sent(&client, "Hold", &hold()).await;
    let mut held = vfiod.call().await;
    assert!(matches!(held.ask, Ask::Hold { target: Target::All, seconds: 0, .. }));
    client.close().await.unwrap();
    let gone = vfiod.call().await;
    assert_eq!(gone.ask, Ask::CallerGone(held.caller.name.clone()));
    gone.reply.send(Ok(Answer::Done)).unwrap();
    // Nobody waits for the answer: to give it is no error, and of no use.
    soon(held.reply.closed()).await;
    assert!(held.reply.send(Ok(Answer::Id(1))).is_err());
}

#[tokio::test]
async fn the_loop_hears_of_those_who_leave_only_if_something_hangs_on_them() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let (holder, reader) = (bus.connect().await, bus.connect().await);
    sent(&holder, "Hold", &hold()).await;
    let held = vfiod.call().await;
    let owner = held.caller.name.clone();
    held.reply.send(Ok(Answer::Id(1))).unwrap();
    proxy::picture(&reader).await.unwrap();
    reader.close().await.unwrap();
    holder.close().await.unwrap();
    let gone = vfiod.call().await;
    assert_eq!(gone.ask, Ask::CallerGone(owner));
    let another = bus.connect().await;
    sent(&another, "Pass", &none()).await;
    assert_eq!(vfiod.call().await.ask, Ask::Pass);
}

#[tokio::test]
async fn on_connecting_the_owners_that_are_gone_are_told_and_the_others_are_kept() {
    let mut bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    sent(&client, "Hold", &hold()).await;
    let held = vfiod.call().await;
    let owner = held.caller.name.clone();
    held.reply.send(Ok(Answer::Id(1))).unwrap();
    drop(vfiod);
    // A vfiod that starts again on the same bus, with the holds it remembers.
    let left = owner.replace(client.unique_name().unwrap().as_str(), ":1.999");
    assert_ne!(owner, left);
    let mut vfiod = Loop::remembering(bus.address(), BTreeSet::from([owner.clone(), left.clone()]));
    assert_eq!(vfiod.word().await, Word::Up);
    assert_eq!(vfiod.call().await.ask, Ask::CallerGone(left));
    client.close().await.unwrap();
    assert_eq!(vfiod.call().await.ask, Ask::CallerGone(owner));
    // On another bus the same unique name is somebody else.
    let client = bus.connect().await;
    sent(&client, "Hold", &hold()).await;
    let held = vfiod.call().await;
    let owner = held.caller.name.clone();
    held.reply.send(Ok(Answer::Id(2))).unwrap();
    vfiod.owners = BTreeSet::from([owner.clone()]);
    bus.kill();
    down(vfiod.word().await);
    bus.start_again();
    let mut others = Vec::new();
    while others.iter().all(|other: &Connection| other.unique_name() != client.unique_name()) && others.len() < 20 {
        others.push(bus.connect().await);
    }
    assert_eq!(vfiod.word().await, Word::Up);
    assert_eq!(vfiod.call().await.ask, Ask::CallerGone(owner));
}

#[tokio::test]
async fn a_thousand_callers_that_hold_and_die_leave_nothing_behind() {
    // Each needs a descriptor here and one in dbus-daemon; where that is not allowed, it is fewer.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let callers = limit.maximum.map_or(1_000, |most| most.saturating_sub(100).min(1_000));
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let mut owners = BTreeSet::new();
    let mut clients = Vec::new();
    for id in 0..callers {
        let client = bus.connect().await;
        sent(&client, "Hold", &hold()).await;
        let held = vfiod.call().await;
        owners.insert(held.caller.name.clone());
        held.reply.send(Ok(Answer::Id(id))).unwrap();
        clients.push(client);
    }
    assert_eq!(owners.len(), clients.len());
    proxy::picture(&clients[0]).await.unwrap();
    for client in clients {
        client.close().await.unwrap();
    }
    while !owners.is_empty() {
        let gone = vfiod.call().await;
        let Ask::CallerGone(owner) = gone.ask else { panic!("{:?}", gone.ask) };
        assert!(owners.remove(&owner), "{owner} has gone twice");
        gone.reply.send(Ok(Answer::Done)).unwrap();
    }
    let client = bus.connect().await;
    call(&client, MANAGER.0, "org.freedesktop.DBus.Peer", "Ping", &()).await.unwrap();
}
