//! Clients that take more than they should.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vfiod::bus::serve::{Word, root};
use vfiod::model::picture::Counters;
use vfiod::model::state::Health;
use zbus::Message;

use crate::loops::{Loop, call, refused, soon};
use crate::pictures;
use crate::private::{Bus, OPEN};
use crate::proxy::{self, Options};

const MANAGER: (&str, &str) = ("/org/vfiod1/manager", "org.vfiod1.Manager");

/// Resident memory of this process, vfiod's bus included (KiB).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A client that says Hello, asks `count` times for everything, and reads nothing of it. Ends when
/// all is written, or when the bus does not want it any more.
fn never_reads(socket: String, count: u32) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let uid: String = nix::unistd::geteuid().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    BufReader::new(&stream).read_line(&mut said).unwrap();
    assert!(said.starts_with("OK "), "{said}");
    stream.write_all(b"BEGIN\r\n").unwrap();
    let hello = Message::method_call("/org/freedesktop/DBus", "Hello").destination("org.freedesktop.DBus");
    let hello = hello.interface("org.freedesktop.DBus").build(&()).unwrap();
    stream.write_all(hello.data()).unwrap();
    for _ in 0..count {
        let all = Message::method_call("/org/vfiod1", "GetManagedObjects").destination("org.vfiod1");
        let all = all.interface("org.freedesktop.DBus.ObjectManager").build(&()).unwrap();
        if stream.write_all(all.data()).is_err() {
            break;
        }
    }
    stream
}

#[tokio::test]
async fn a_client_that_never_reads_costs_no_memory_and_the_others_some_seconds_at_most() {
    // A sixteenth of what the system bus holds for one connection, so that it is not a gigabyte.
    let limits =
        ["max_outgoing_bytes", "max_incoming_bytes"].map(|name| format!("<limit name=\"{name}\">8000000</limit>"));
    let bus = Bus::with(&format!("{OPEN}{}", limits.concat()));
    let mut vfiod = Loop::on(&bus, pictures::with(200), root).await;
    let client = bus.connect().await;
    let size = {
        let interface = "org.freedesktop.DBus.ObjectManager";
        let all = call(&client, "/org/vfiod1", interface, "GetManagedObjects", &()).await.unwrap();
        all.body().len()
    };
    let before = resident();
    let socket = bus.address().split_once('=').unwrap().1.to_owned();
    let count = u32::try_from((24 << 20) / size).unwrap();
    let greedy = tokio::task::spawn_blocking(move || never_reads(socket, count));
    // dbus-daemon reads nothing more of vfiod once that much is on its way to one client. Then vfiod
    // leaves and comes back: for the others calls fail meanwhile, and work again.
    let (mut good, mut bad) = (0, 0);
    while !greedy.is_finished() || good < 50 {
        vfiod.show(|picture| picture.health = if good % 2 == 0 { Health::Held } else { Health::Ready });
        match soon(proxy::picture(&client)).await {
            Ok(_) => good += 1,
            Err(_) => {
                (good, bad) = (0, bad + 1);
                // That it comes back at all; how soon depends on the machine.
                assert!(bad < 2_000, "{bad} calls failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let _stream = greedy.await.unwrap();
    // Nobody else ever had the name, whatever the bus thinks for a moment.
    while let Ok(word) = vfiod.words.try_recv() {
        assert!(!matches!(word, Word::NameTaken(_)), "{word:?}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more for answers of {size} bytes each");
}

#[tokio::test]
async fn whoever_floods_leaves_the_loop_its_turns() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::with(100), root).await;
    let client = bus.connect().await;
    for _ in 0..100 {
        let status = Message::method_call(MANAGER.0, "Status").destination("org.vfiod1").interface(MANAGER.1);
        client.send(&status.build(&Options::new()).unwrap()).await.unwrap();
    }
    // The loop lives on the same thread: what it does in a turn is done long before all of that is.
    let mut turns = 0_u32;
    let answered = call(&client, MANAGER.0, "org.freedesktop.DBus.Peer", "Ping", &());
    tokio::pin!(answered);
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => break drop(answer.unwrap()),
            () = tokio::task::yield_now() => turns += 1,
        }
    }
    assert!(turns >= 100, "{turns} turns");
}

#[tokio::test]
async fn a_huge_message_is_refused_and_forgotten() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let huge = "x".repeat(16 << 20);
    let hold = ("gpu-0", huge.as_str(), "so", 5_u64, Options::new());
    let (name, _) = refused(call(&client, MANAGER.0, MANAGER.1, "Hold", &hold).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
    let options: HashMap<&str, zbus::Variant<'_>> = HashMap::from([(huge.as_str(), 1_u32.into())]);
    let mut refusals = vec![refused(call(&client, MANAGER.0, MANAGER.1, "Status", &options).await)];
    let properties = "org.freedesktop.DBus.Properties";
    refusals.push(refused(call(&client, MANAGER.0, properties, "Get", &(MANAGER.1, huge.as_str())).await));
    refusals.push(refused(call(&client, MANAGER.0, properties, "GetAll", &huge.as_str()).await));
    for (name, text) in refusals {
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
        assert_eq!(text, "the arguments may have at most 524288 bytes");
    }
}

#[tokio::test]
async fn counters_are_read_as_they_are_now() {
    let bus = Bus::start();
    let vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let manager = proxy::ManagerProxy::builder(&client).cache_properties(zbus::proxy::CacheProperties::No);
    let manager = manager.build().await.unwrap();
    vfiod.counters.send(Counters { passes: 41, ..Counters::default() }).unwrap();
    assert_eq!(manager.passes().await.unwrap(), 41);
    vfiod.counters.send(Counters { passes: 42, repairs: 1, ..Counters::default() }).unwrap();
    assert_eq!(manager.repairs().await.unwrap(), 1);
    assert_eq!(proxy::picture(&client).await.unwrap().counters.passes, 42);
}
