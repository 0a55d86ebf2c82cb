//! Signals: when something has changed, and only then.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use vfiod::bus::difference::{self, Change};
use vfiod::bus::serve::root;
use vfiod::model::cause::culprit::Culprit;
use vfiod::model::event::{Event, Kind, Level};
use vfiod::model::picture::{Counters, Picture, UserView};
use vfiod::model::plan::About;
use vfiod::model::state::State;
use vfiod::service::show::{Show, ToBus};
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use crate::loops::{Loop, soon};
use crate::pictures;
use crate::private::Bus;

/// Everything that vfiod signals.
async fn heard(by: &Connection) -> MessageStream {
    let rule = MatchRule::builder().msg_type(Type::Signal).sender("org.vfiod1").build().unwrap();
    MessageStream::for_match_rule(rule, by, None).await.unwrap()
}

async fn next(stream: &mut MessageStream) -> Message {
    soon(stream.next()).await.unwrap().unwrap()
}

fn named(signal: &Message) -> (String, String) {
    let header = signal.header();
    (header.path().unwrap().to_string(), header.member().unwrap().to_string())
}

/// The keys and values of a PropertiesChanged.
fn changed(signal: &Message) -> (String, Vec<(String, String)>) {
    let body = signal.body();
    let (interface, values, invalidated): (String, HashMap<String, OwnedVariant>, Vec<String>) =
        body.deserialize().unwrap();
    assert!(invalidated.is_empty());
    let mut values: Vec<_> = values.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    values.sort();
    (interface, values)
}

fn event(kind: Kind) -> Event {
    Event {
        kind,
        about: About::Device("0000:01:00.0".parse().unwrap()),
        entry: Some("gpu-0".into()),
        group: Some(15),
        old: "ready".into(),
        new: "drifted".into(),
        cause: "unbound".into(),
        latency: (kind == Kind::Repaired).then_some(Duration::from_millis(12)),
        level: Level::Warning,
        by: None,
    }
}

/// Changes all that does not emit, everywhere.
fn unheard(picture: &mut Picture) {
    picture.counters = Counters { passes: 99, drifts: 98, repairs: 97, failures: 96, last_repair_latency_usec: 95 };
    for device in picture.devices.values_mut() {
        device.users = vec![UserView { pid: 9, comm: "other".into(), unit: String::new(), uid: 9 }];
        device.drifts += 1;
        device.repairs += 1;
        device.not_before_usec += 1;
    }
    for module in picture.modules.values_mut() {
        module.refcount = None;
        module.used_by.clear();
        module.not_before_usec += 1;
    }
    picture.entries.values_mut().for_each(|entry| entry.not_before_usec += 1);
}

#[test]
fn pictures_that_differ_only_in_what_does_not_emit_have_no_signals() {
    let old = pictures::with(100);
    let mut new = old.clone();
    unheard(&mut new);
    assert_ne!(old, new);
    assert_eq!(difference::between(&old, &new), []);
}

#[test]
fn a_device_that_goes_is_told_after_those_who_name_it() {
    let old = pictures::small();
    let mut new = old.clone();
    let audio = "0000:01:00.1".parse().unwrap();
    new.devices.remove(&audio);
    let changes = difference::between(&old, &new);
    let [Change::Changed(group, values), Change::Removed(device)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(group.path().as_str(), "/org/vfiod1/group/15");
    assert_eq!(values.keys().collect::<Vec<_>>(), [&"Devices"]);
    assert_eq!(device.path().as_str(), "/org/vfiod1/device/pci_0000_01_00_1");
}

#[tokio::test]
async fn only_what_has_changed_is_signalled_and_only_once() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    // Neither the same picture again, nor one with other counters, is worth a signal.
    vfiod.show(|_| {});
    vfiod.show(unheard);
    let gpu = "0000:01:00.0".parse().unwrap();
    vfiod.show(|picture| {
        let device = picture.devices.get_mut(&gpu).unwrap();
        (device.state, device.driver, device.drifts) = (State::Drifted, None, 7);
    });
    let first = next(&mut stream).await;
    let path = "/org/vfiod1/device/pci_0000_01_00_0".to_owned();
    assert_eq!(named(&first), (path, "PropertiesChanged".into()));
    let (interface, values) = changed(&first);
    assert_eq!(interface, "org.vfiod1.Device");
    assert_eq!(values, [("Driver".into(), "\"\"".into()), ("State".into(), "\"drifted\"".into())]);
    vfiod.show(|picture| picture.holds.clear());
    let second = next(&mut stream).await;
    let (interface, values) = changed(&second);
    assert_eq!((&*interface, values.len(), &*values[0].0), ("org.vfiod1.Manager", 1, "Holds"));
}

#[tokio::test]
async fn objects_come_and_go_with_the_picture() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    let nic = "0000:05:00.0".parse().unwrap();
    vfiod.show(|picture| {
        picture.devices.insert(nic, pictures::device(nic, None));
    });
    let added = next(&mut stream).await;
    assert_eq!(named(&added), ("/org/vfiod1".into(), "InterfacesAdded".into()));
    let body = added.body();
    let (path, interfaces): (OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>) =
        body.deserialize().unwrap();
    assert_eq!(path.as_str(), "/org/vfiod1/device/pci_0000_05_00_0");
    assert_eq!(interfaces.len(), 1);
    assert_eq!(interfaces["org.vfiod1.Device"]["Address"].to_string(), "\"0000:05:00.0\"");
    assert_eq!(interfaces["org.vfiod1.Device"]["Group"].to_string(), "objectpath \"/\"");
    assert_eq!(interfaces["org.vfiod1.Device"].len(), 20);
    vfiod.show(|picture| {
        picture.devices.remove(&nic);
    });
    let removed = next(&mut stream).await;
    assert_eq!(named(&removed), ("/org/vfiod1".into(), "InterfacesRemoved".into()));
    let body = removed.body();
    let (path, interfaces): (OwnedObjectPath, Vec<String>) = body.deserialize().unwrap();
    assert_eq!((path.as_str(), interfaces), ("/org/vfiod1/device/pci_0000_05_00_0", vec!["org.vfiod1.Device".into()]));
}

#[tokio::test]
async fn a_transition_is_signalled_after_what_it_has_changed() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    let gpu = "0000:01:00.0".parse().unwrap();
    vfiod.show(|picture| picture.devices.get_mut(&gpu).unwrap().state = State::Drifted);
    for kind in [Kind::Drifted, Kind::Held, Kind::Repaired, Kind::RepairFailed, Kind::Released, Kind::GivenBack] {
        vfiod.transitions.try_send(vec![event(kind)]).unwrap();
    }
    assert_eq!(named(&next(&mut stream).await).1, "PropertiesChanged");
    let mut names = Vec::new();
    for _ in 0..4 {
        let signal = next(&mut stream).await;
        let body = signal.body();
        let (object, name, old, new, cause, details): (
            OwnedObjectPath,
            String,
            String,
            String,
            String,
            HashMap<String, OwnedVariant>,
        ) = body.deserialize().unwrap();
        assert_eq!(object.as_str(), "/org/vfiod1/device/pci_0000_01_00_0");
        assert_eq!([&*name, &*old, &*new, &*cause], ["0000:01:00.0", "ready", "drifted", "unbound"]);
        assert_eq!(details["Entry"].to_string(), "\"gpu-0\"");
        assert_eq!(details["Group"].to_string(), "uint32 15");
        let latency = details.get("LatencyUSec").map(|latency| latency.to_string());
        let (path, member) = named(&signal);
        assert_eq!(latency.is_some(), member == "Repaired", "{latency:?}");
        assert_eq!(path, "/org/vfiod1/manager");
        names.push(member);
    }
    assert_eq!(names, ["Drifted", "Repaired", "RepairFailed", "GivenBack"]);
}

#[tokio::test]
async fn a_loss_says_by_whom_and_not_how_that_was_called() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    let about = About::Module("vfio_pci".parse().unwrap());
    let by = Culprit {
        pid: 812,
        comm: "modprobe".into(),
        unit: "ssh.service".into(),
        uid: Some(0),
        parent: None,
        cmdline: Some("modprobe -r vfio_pci --secret".into()),
    };
    let lost = Event { about, entry: None, group: None, by: Some(by), ..event(Kind::ModuleLost) };
    vfiod.transitions.try_send(vec![lost]).unwrap();
    let signal = next(&mut stream).await;
    assert_eq!(named(&signal).1, "Drifted");
    type Drifted = (OwnedObjectPath, String, String, String, String, HashMap<String, OwnedVariant>);
    let body = signal.body();
    let drifted: Drifted = body.deserialize().unwrap();
    assert_eq!(drifted.0.as_str(), "/org/vfiod1/module/vfio_pci");
    assert_eq!(drifted.5["By"].to_string(), "\"modprobe[812] of ssh.service (uid 0)\"");
}

#[tokio::test]
async fn a_thousand_devices_that_change_at_once_are_a_thousand_signals() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::with(1_000), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    vfiod.show(|picture| picture.devices.values_mut().for_each(|device| device.state = State::Assigned));
    for index in 0..1_000 {
        let signal = next(&mut stream).await;
        let path = format!("/org/vfiod1/device/{}", pictures::address(index).libvirt_name());
        assert_eq!(named(&signal), (path, "PropertiesChanged".into()));
    }
}

#[tokio::test]
async fn a_thousand_losses_in_one_pass_are_all_signalled() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut stream = heard(&client).await;
    let Loop { picture, counters, transitions, .. } = vfiod;
    let mut shown = ToBus { picture, counters, transitions };
    let lost = |index| Event { about: About::Device(pictures::address(index)), ..event(Kind::Drifted) };
    shown.transitions(&(0..1_000).map(lost).collect::<Vec<_>>());
    for index in 0..1_000 {
        let signal = next(&mut stream).await;
        let body = signal.body();
        let (_, name, ..): (OwnedObjectPath, String, String, String, String, HashMap<String, OwnedVariant>) =
            body.deserialize().unwrap();
        assert_eq!((named(&signal).1, name), ("Drifted".into(), pictures::address(index).to_string()));
    }
}
