//! Methods: what they ask of the loop, what they answer, and what they refuse.

use std::collections::HashMap;
use std::io::{Read, pipe};
use std::os::fd::OwnedFd;

use futures_util::StreamExt;
use vfiod::bus::authority::{Access, TABLE};
use vfiod::bus::call::{Answer, Ask, Refusal, Target};
use vfiod::bus::serve::root;
use zbus::message::Flags;
use zbus::{Connection, Message, Variant};

use crate::loops::{Loop, call, refused, soon};
use crate::pictures;
use crate::private::Bus;
use crate::proxy::{self, DeviceProxy, EntryProxy, ManagerProxy, ModuleProxy, Options};

const MANAGER: (&str, &str) = ("/org/vfiod1/manager", "org.vfiod1.Manager");
const DEVICE: &str = "/org/vfiod1/device/pci_0000_01_00_0";
const ENTRY: &str = "/org/vfiod1/entry/gpu_2d0";

fn everybody(_uid: u32) -> bool {
    true
}

fn none() -> Options<'static> {
    Options::new()
}

async fn manager(from: &Connection) -> ManagerProxy<'_> {
    ManagerProxy::new(from).await.unwrap()
}

#[tokio::test]
async fn every_method_asks_the_loop_what_it_says_and_gives_its_answer() {
    let bus = Bus::start();
    let (vfiod, mut asks) = Loop::on(&bus, pictures::small(), everybody).await.answer_all();
    let client = bus.connect().await;
    let manager = manager(&client).await;
    let gpu = Target::Device("0000:01:00.0".parse().unwrap());
    let entry = Target::Entry("gpu-0".into());
    let module = "vfio_pci".parse().unwrap();
    let mut methods = 0;
    let mut asked = |expected: Ask| {
        assert_eq!(asks.try_recv().expect("the loop was asked"), expected);
        methods += 1;
    };

    manager.pass(none()).await.unwrap();
    asked(Ask::Pass);
    assert_eq!(manager.plan(none()).await.unwrap(), "{}");
    asked(Ask::Plan);
    manager.check("", none()).await.unwrap();
    asked(Ask::Check(Target::All));
    let results = manager.repair(&["01:00.0", "pci_0000_01_00_0", "gpu-0", "gpu-0/3"], none()).await.unwrap();
    assert_eq!(results, [("0000:01:00.0".into(), "ready".into())]);
    asked(Ask::Repair(vec![gpu.clone(), gpu.clone(), entry.clone(), Target::Entry("gpu-0/3".into())]));
    manager.load_modules(&["vfio-pci"], none()).await.unwrap();
    asked(Ask::LoadModules(vec![module]));
    assert_eq!(manager.hold("module:vfio_pci", "me", "so", 60, none()).await.unwrap(), 7);
    let module: vfiod::model::pci::Module = "vfio_pci".parse().unwrap();
    let held = Target::Module(module.clone());
    asked(Ask::Hold { target: held, who: "me".into(), why: "so".into(), seconds: 60 });
    manager.inhibit("all", "me", "so", none()).await.unwrap();
    asked(Ask::Inhibit { target: Target::All, who: "me".into(), why: "so".into() });
    manager.unhold(7, none()).await.unwrap();
    asked(Ask::Unhold(7));
    manager.reset_failed("gpu-0", none()).await.unwrap();
    asked(Ask::ResetFailed(entry.clone()));
    manager.reload(none()).await.unwrap();
    asked(Ask::Reload);
    let lines = manager.history(0, none()).await.unwrap();
    asked(Ask::History(1_000));
    let line: Vec<_> =
        ["Timestamp", "Kind", "Object", "Name", "New", "LatencyUSec"].map(|key| lines[0][key].to_string()).into();
    assert_eq!(line, ["uint64 5", "\"module-lost\"", "\"device\"", "\"0000:01:00.0\"", "\"drifted\"", "uint64 7",]);
    assert_eq!(lines[0].len(), 6, "what is empty is left out");
    let rest: Vec<_> = ["Entry", "Old", "Cause", "By"].map(|key| lines[1][key].to_string()).into();
    assert_eq!((rest.join(" ").as_str(), lines[1].len()), ("\"gpu-0\" \"ready\" \"so\" \"rmmod\"", 10));

    let on = EntryProxy::builder(&client).path(ENTRY).build().await.unwrap();
    on.repair(none()).await.unwrap();
    asked(Ask::Repair(vec![entry.clone()]));
    on.release(none()).await.unwrap();
    asked(Ask::Release(entry.clone()));
    on.adopt(none()).await.unwrap();
    asked(Ask::Adopt(entry));
    let on = DeviceProxy::builder(&client).path(DEVICE).build().await.unwrap();
    on.repair(none()).await.unwrap();
    asked(Ask::Repair(vec![gpu.clone()]));
    on.release(none()).await.unwrap();
    asked(Ask::Release(gpu.clone()));
    on.adopt(none()).await.unwrap();
    asked(Ask::Adopt(gpu.clone()));
    on.check(none()).await.unwrap();
    asked(Ask::Check(gpu));
    let on = ModuleProxy::builder(&client).path("/org/vfiod1/module/vfio_pci").build().await.unwrap();
    on.load(none()).await.unwrap();
    asked(Ask::LoadModules(vec![module]));

    // Status is answered from the picture, and is the picture.
    let picture = proxy::picture(&client).await.unwrap();
    assert_eq!(&picture, &**vfiod.picture.borrow().as_ref().unwrap());
    let own = TABLE.iter().filter(|(interface, _, _)| interface.starts_with("org.vfiod1.")).count();
    assert_eq!(methods + 1, own, "a method of the table was not called");
}

#[tokio::test]
async fn a_refusal_arrives_by_its_name_with_its_sentence() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    let answering = tokio::spawn(async move {
        let call = vfiod.call().await;
        call.reply.send(Err(Refusal::InUse("0000:01:00.0 is open: qemu (4242)".into()))).unwrap();
        let call = vfiod.call().await;
        let fault = "vfiod.toml:3: unknown key".to_owned();
        call.reply.send(Err(Refusal::InvalidConfiguration(fault))).unwrap();
        vfiod
    });
    let (name, text) = refused(call(&client, DEVICE, "org.vfiod1.Device", "Release", &none()).await);
    assert_eq!((&*name, &*text), ("org.vfiod1.Error.InUse", "0000:01:00.0 is open: qemu (4242)"));
    let (name, _) = refused(call(&client, MANAGER.0, MANAGER.1, "Reload", &none()).await);
    assert_eq!(name, "org.vfiod1.Error.InvalidConfiguration");
    // A loop that ends takes its calls with it.
    let vfiod = answering.await.unwrap();
    let Loop { calls, picture: _picture, transitions: _transitions, .. } = vfiod;
    drop(calls);
    let (name, text) = refused(call(&client, MANAGER.0, MANAGER.1, "Pass", &none()).await);
    assert_eq!((&*name, &*text), ("org.vfiod1.Error.Failed", "vfiod is stopping"));
}

#[tokio::test]
async fn the_descriptor_of_an_inhibitor_is_the_one_that_the_loop_gave() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    let (mut ours, theirs) = pipe().unwrap();
    let answering = tokio::spawn(async move {
        let call = vfiod.call().await;
        call.reply.send(Ok(Answer::Lease(theirs.into()))).unwrap();
        vfiod
    });
    let lease = manager(&client).await.inhibit("gpu-0", "me", "so", none()).await.unwrap();
    let _vfiod = answering.await.unwrap();
    drop(OwnedFd::from(lease));
    // Once nobody has the other end, vfiod included, this does not wait.
    let read = tokio::task::spawn_blocking(move || ours.read(&mut [0]).unwrap());
    assert_eq!(soon(read).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_not_as_the_contract_has_it_is_refused_with_what_was_expected() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    let (path, interface) = MANAGER;
    let long = "x".repeat(257);
    let options = |key: &'static str| HashMap::from([(key, Variant::from(1_u32))]);
    let hold = |target: &str, who: &str, why: &str| (target.to_owned(), who.to_owned(), why.to_owned(), 5_u64, none());

    let args = |answer| {
        let (name, text) = refused(answer);
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs", "{text}");
        text
    };
    let text = args(call(&client, path, interface, "Hold", &("gpu-0", "me")).await);
    assert_eq!(text, "expected arguments (sssta{sv}): these are (ss)");
    let text = args(call(&client, path, interface, "Pass", &options("quickly")).await);
    assert_eq!(text, "there is no option `quickly`; none is known");
    let text = args(call(&client, path, interface, "Pass", &options("\x1b[31m")).await);
    assert!(!text.contains('\x1b'), "{text}");
    let text = args(call(&client, path, interface, "Hold", &hold("gpu-0", &long, "so")).await);
    assert_eq!(text, "who may have at most 256 bytes, this has 257");
    let text = args(call(&client, path, interface, "Hold", &hold("gpu-0", "me", "so\n<0>kernel: lost")).await);
    assert_eq!(text, "why may have no control characters");
    args(call(&client, path, interface, "Hold", &hold("gpu-0", "me", "\u{202e}os")).await);
    args(call(&client, path, interface, "Hold", &hold("", "me", "so")).await);
    args(call(&client, path, interface, "Hold", &hold("gpu\x1b[2J", "me", "so")).await);
    let many = vec!["gpu-0"; 1_025];
    let text = args(call(&client, path, interface, "Repair", &(many, none())).await);
    assert_eq!(text, "at most 1024 names may be given, these are 1025");
    let large = vec!["x"; 200_000];
    args(call(&client, path, interface, "Repair", &(large, none())).await);
    args(call(&client, path, interface, "Repair", &(vec!["module:vfio_pci"], none())).await);
    args(call(&client, path, "org.freedesktop.DBus.Properties", "Get", &("x",)).await);

    let none_such = |answer| {
        let (name, text) = refused(answer);
        assert_eq!(name, "org.vfiod1.Error.NoSuchObject", "{text}");
        text
    };
    let text = none_such(call(&client, path, interface, "Repair", &(vec!["gpu-1"], none())).await);
    assert_eq!(text, "there is no gpu-1; near it are: gpu-0");
    let text = none_such(call(&client, path, interface, "LoadModules", &(vec!["vfoi_pci"], none())).await);
    assert_eq!(text, "there is no module:vfoi_pci; near it are: module:vfio_pci");
    let text = none_such(call(&client, path, interface, "Repair", &(vec!["something"], none())).await);
    assert_eq!(text, "there is no something");

    let named = |answer| refused(answer).0.rsplit_once('.').unwrap().1.to_owned();
    assert_eq!(named(call(&client, path, interface, "Forget", &()).await), "UnknownMethod");
    assert_eq!(named(call(&client, path, "org.example", "Pass", &()).await), "UnknownInterface");
    assert_eq!(named(call(&client, DEVICE, interface, "Pass", &none()).await), "UnknownInterface");
    assert_eq!(
        named(call(&client, "/org/vfiod1/device/pci_0000_02_00_0", "org.vfiod1.Device", "Check", &none()).await),
        "UnknownObject"
    );
    assert_eq!(
        named(call(&client, "/org/vfiod1/group/015", "org.freedesktop.DBus.Introspectable", "Introspect", &()).await),
        "UnknownObject"
    );
    let properties = "org.freedesktop.DBus.Properties";
    assert_eq!(named(call(&client, path, properties, "Get", &(interface, "Secret")).await), "UnknownProperty");
    assert_eq!(named(call(&client, path, properties, "GetAll", &("org.example",)).await), "UnknownInterface");
    let set = (interface, "Mode", Variant::from("observe"));
    assert_eq!(named(call(&client, path, properties, "Set", &set).await), "PropertyReadOnly");
    // Without an interface nothing says which rule would hold.
    let answer = client.call_method(Some("org.vfiod1"), path, None::<&str>, "Pass", &none()).await;
    assert_eq!(named(answer), "UnknownInterface");
}

#[tokio::test]
async fn a_call_that_carries_descriptors_is_refused_and_they_are_closed() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    let (mut ours, theirs) = pipe().unwrap();
    let options = HashMap::from([("lease", Variant::from(zbus::Fd::from(OwnedFd::from(theirs))))]);
    let (name, text) = refused(call(&client, MANAGER.0, MANAGER.1, "Pass", &options).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
    assert_eq!(text, "no method takes descriptors");
    drop(options);
    let read = tokio::task::spawn_blocking(move || ours.read(&mut [0]).unwrap());
    assert_eq!(soon(read).await.unwrap(), 0);
}

#[tokio::test]
async fn a_caller_that_wants_no_answer_gets_none_and_is_heard() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let client = bus.connect().await;
    let builder = Message::method_call(MANAGER.0, "Pass").destination("org.vfiod1").interface(MANAGER.1);
    let message = builder.with_flags(Flags::NO_REPLY_EXPECTED).build(&none()).unwrap();
    let mut stream = zbus::MessageStream::from(&client);
    client.send(&message).await.unwrap();
    let asked = vfiod.call().await;
    assert_eq!(asked.ask, Ask::Pass);
    asked.reply.send(Ok(Answer::Done)).unwrap();
    // An answer to it would have come before the one to this.
    let read = call(&client, MANAGER.0, "org.freedesktop.DBus.Properties", "Get", &(MANAGER.1, "Health")).await;
    let read = read.unwrap();
    loop {
        let message = soon(stream.next()).await.unwrap().unwrap();
        if message.message_type() != zbus::message::Type::Signal {
            assert_eq!(message.header().reply_serial(), read.header().reply_serial());
            break;
        }
    }
}

#[tokio::test]
async fn a_caller_may_have_so_many_calls_under_way_and_the_next_caller_as_many() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), everybody).await;
    let (client, another) = (bus.connect().await, bus.connect().await);
    let passes = |from: &Connection, count: usize| {
        let calls: Vec<_> = (0..count).map(|_| from.clone()).collect();
        calls
            .into_iter()
            .map(|from| tokio::spawn(async move { call(&from, MANAGER.0, MANAGER.1, "Pass", &none()).await }))
    };
    let waiting: Vec<_> = passes(&client, 16).collect();
    let mut asked = Vec::new();
    for _ in 0..16 {
        asked.push(vfiod.call().await);
    }
    let (name, text) = refused(call(&client, MANAGER.0, MANAGER.1, "Pass", &none()).await);
    assert_eq!(name, "org.vfiod1.Error.LimitsExceeded", "{text}");
    // Reading goes on, and so does everybody else.
    proxy::picture(&client).await.unwrap();
    let mut other = passes(&another, 1);
    let other = other.next().unwrap();
    asked.push(vfiod.call().await);
    asked.into_iter().for_each(|call| call.reply.send(Ok(Answer::Done)).unwrap());
    for call in waiting.into_iter().chain([other]) {
        soon(call).await.unwrap().unwrap();
    }
    let last = passes(&client, 1).next().unwrap();
    vfiod.call().await.reply.send(Ok(Answer::Done)).unwrap();
    soon(last).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_loop_is_told_who_calls() {
    let bus = Bus::start();
    let mut vfiod = Loop::on(&bus, pictures::small(), root).await;
    assert!(TABLE.iter().any(|(_, method, access)| *method == "Plan" && *access == Access::Open));
    let client = bus.connect().await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { call(&client, MANAGER.0, MANAGER.1, "Plan", &none()).await }
    });
    let asked = vfiod.call().await;
    assert_eq!(asked.caller.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(asked.caller.pid, std::process::id());
    assert!(asked.caller.name.ends_with(client.unique_name().unwrap().as_str()), "{:?}", asked.caller);
    asked.reply.send(Ok(Answer::Text("{}".into()))).unwrap();
    soon(asking).await.unwrap().unwrap();
}
