//! The bus with 10, 100 and 1,000 devices, beside a bare zbus server of equal size: as many objects
//! with the same properties, registered with zbus' object server.
//!
//! On a private dbus-daemon. `cargo bench` measures each; the table at the end has the medians and the
//! ratios: the whole tree and the start-up may take twice what the bare server takes. With it what
//! `vfiodctl` takes to show it all.
#![allow(missing_docs, reason = "a benchmark")]

#[path = "../tests/bus/pictures.rs"]
mod pictures;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/bus/private.rs"]
mod private;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use criterion::{BenchmarkId, Criterion};
use private::Bus;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vfiod::bus::difference;
use vfiod::bus::serve::{Place, Terms, Word, root, serve};
use vfiod::cli::arguments::Arguments;
use vfiod::cli::run::{Surroundings, run};
use vfiod::host::root::Root;
use vfiod::model::concern::Concern;
use vfiod::model::picture::{DeviceView, GroupView, Picture};
use zbus::fdo::{DBusProxy, ObjectManager, RequestNameFlags};
use zbus::names::WellKnownName;
use zbus::{Connection, Message, OwnedObjectPath};

const BARE: &str = "org.example.Bare";

/// The properties of a device, as the macro makes them.
struct BareDevice {
    address: String,
    group: OwnedObjectPath,
    view: DeviceView,
}

#[zbus::interface(name = "org.example.Device")]
impl BareDevice {
    #[zbus(property)]
    fn address(&self) -> &str {
        &self.address
    }
    #[zbus(property)]
    fn ids(&self) -> String {
        self.view.ids.to_string()
    }
    #[zbus(property)]
    fn class(&self) -> &str {
        &self.view.class
    }
    #[zbus(property)]
    fn description(&self) -> &str {
        &self.view.description
    }
    #[zbus(property)]
    fn driver(&self) -> &str {
        self.view.driver.as_ref().map_or("", |driver| driver.as_str())
    }
    #[zbus(property)]
    fn wanted_driver(&self) -> &str {
        self.view.wanted.as_ref().map_or("", |driver| driver.as_str())
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        self.view.state.as_str()
    }
    #[zbus(property)]
    fn reason(&self) -> &str {
        &self.view.reason
    }
    #[zbus(property)]
    fn remedy(&self) -> &str {
        &self.view.remedy
    }
    #[zbus(property)]
    fn state_timestamp(&self) -> u64 {
        self.view.since_usec
    }
    #[zbus(property)]
    fn group(&self) -> &OwnedObjectPath {
        &self.group
    }
    #[zbus(property)]
    fn group_number(&self) -> i32 {
        self.view.group.map_or(-1, |group| group.cast_signed())
    }
    #[zbus(property)]
    fn passthrough_id(&self) -> &str {
        &self.view.passthrough_id
    }
    #[zbus(property)]
    fn nodes(&self) -> Vec<String> {
        self.view.nodes.clone()
    }
    #[zbus(property)]
    fn users(&self) -> Vec<(u32, String)> {
        self.view.users.iter().map(|user| (user.pid, user.comm.clone())).collect()
    }
    #[zbus(property)]
    fn drifts(&self) -> u64 {
        self.view.drifts
    }
    #[zbus(property)]
    fn repairs(&self) -> u64 {
        self.view.repairs
    }
    #[zbus(property)]
    fn last_drift_timestamp(&self) -> u64 {
        self.view.last_drift_usec
    }
    #[zbus(property)]
    fn last_cause(&self) -> &str {
        &self.view.last_cause
    }
    #[zbus(property)]
    fn findings(&self) -> Vec<(String, String, String)> {
        let words = |it: &Concern| (it.severity.as_str().to_owned(), it.code.as_str().to_owned(), it.why.clone());
        self.view.findings.iter().map(words).collect()
    }
}

/// The properties of a group, likewise.
struct BareGroup {
    number: u32,
    devices: Vec<OwnedObjectPath>,
    view: GroupView,
}

#[zbus::interface(name = "org.example.Group")]
impl BareGroup {
    #[zbus(property)]
    fn number(&self) -> u32 {
        self.number
    }
    #[zbus(property)]
    fn members(&self) -> Vec<String> {
        self.view.members.clone()
    }
    #[zbus(property)]
    fn devices(&self) -> Vec<OwnedObjectPath> {
        self.devices.clone()
    }
    #[zbus(property)]
    fn viable(&self) -> bool {
        self.view.viable
    }
    #[zbus(property)]
    fn blockers(&self) -> Vec<String> {
        self.view.blockers.clone()
    }
    #[zbus(property)]
    fn reserved(&self) -> Vec<(u64, u64, String)> {
        self.view.reserved.clone()
    }
}

async fn named(bus: &Connection, name: &'static str) {
    let name = WellKnownName::from_static_str(name).unwrap();
    DBusProxy::new(bus).await.unwrap().request_name(name, RequestNameFlags::DO_NOT_QUEUE).await.unwrap();
}

/// A bare server, ready to answer.
async fn bare(bus: &Bus, picture: &Picture) -> Connection {
    let connection = bus.connect().await;
    let server = connection.object_server();
    let path = |text: String| OwnedObjectPath::try_from(text).unwrap();
    let group_path = |number: u32| path(format!("/org/example/group/{number}"));
    for (address, view) in &picture.devices {
        let device = BareDevice {
            address: address.to_string(),
            group: view.group.map_or_else(|| path("/".into()), group_path),
            view: view.clone(),
        };
        server.at(format!("/org/example/device/{}", address.libvirt_name()), device).await.unwrap();
    }
    for (number, view) in &picture.groups {
        let addresses = view.members.iter().map(|member| member.parse::<vfiod::model::pci::Address>().unwrap());
        let devices = addresses.map(|address| path(format!("/org/example/device/{}", address.libvirt_name())));
        let group = BareGroup { number: *number, devices: devices.collect(), view: view.clone() };
        server.at(group_path(*number), group).await.unwrap();
    }
    // Last, as zbus advises: what is there already is announced once.
    server.at("/org/example", ObjectManager).await.unwrap();
    named(&connection, BARE).await;
    connection
}

struct Ours {
    task: JoinHandle<()>,
    _picture: watch::Sender<Option<Arc<Picture>>>,
    _rest: Box<dyn Send>,
}

/// vfiod's bus, ready to answer.
async fn ours(bus: &Bus, picture: &Arc<Picture>) -> Ours {
    let (shows, shown) = watch::channel(Some(Arc::clone(picture)));
    let (counts, counters) = watch::channel(picture.counters);
    let (tells, transitions) = mpsc::channel(1);
    let (words, mut heard) = mpsc::unbounded_channel();
    let (calls, asked) = mpsc::channel(1);
    let place = Place::At(bus.address());
    let task = tokio::spawn(serve(Terms { place, picture: shown, counters, transitions, calls, trusted: root, words }));
    assert_eq!(heard.recv().await, Some(Word::Up));
    Ours { task, _picture: shows, _rest: Box::new((tells, counts, asked, heard)) }
}

async fn managed(client: &Connection, name: &str, root: &str) -> Message {
    let interface = Some("org.freedesktop.DBus.ObjectManager");
    client.call_method(Some(name), root, interface, "GetManagedObjects", &()).await.unwrap()
}

async fn property(client: &Connection, name: &str, root: &str, interface: &str) -> Message {
    let path = format!("{root}/device/{}", pictures::address(0).libvirt_name());
    let properties = Some("org.freedesktop.DBus.Properties");
    client.call_method(Some(name), path, properties, "Get", &(interface, "State")).await.unwrap()
}

/// The medians of some runs of each, taken in turns.
fn medians<const N: usize>(mut what: [&mut dyn FnMut() -> Duration; N], runs: usize) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..runs {
        what.iter_mut().zip(&mut times).for_each(|(run, times)| times.push(run()));
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[runs / 2]
    })
}

/// How long a server takes to begin, its first answer with all objects included.
fn start_up(runtime: &Runtime, bus: &Bus, client: &Connection, picture: &Arc<Picture>, is_bare: bool) -> Duration {
    runtime.block_on(async {
        let begin = Instant::now();
        if is_bare {
            let connection = bare(bus, picture).await;
            managed(client, BARE, "/org/example").await;
            let took = begin.elapsed();
            connection.close().await.unwrap();
            return took;
        }
        let served = ours(bus, picture).await;
        managed(client, "org.vfiod1", "/org/vfiod1").await;
        let took = begin.elapsed();
        served.task.abort();
        // The next one takes the name once this one has gone.
        while DBusProxy::new(client).await.unwrap().name_has_owner("org.vfiod1".try_into().unwrap()).await.unwrap() {}
        took
    })
}

/// A command as a person runs it, without the start of a process.
fn command(runtime: &Runtime, bus: &Bus, words: &[&str]) {
    let around = Surroundings {
        terminal: false,
        width: Some(100),
        rows: None,
        no_color: true,
        utf8: true,
        zone: jiff::tz::TimeZone::UTC,
        now_usec: 1_800_000_000_000_000,
        who: "bench".to_owned(),
        user: |_| None,
        root: false,
        names: Root::live(),
        bus: Some(bus.address()),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = Arguments::try_parse_from(words).unwrap();
    runtime.block_on(run(arguments, &around, &mut out, &mut err));
    assert!(err.is_empty() && !black_box(out).is_empty(), "{}", String::from_utf8_lossy(&err));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(2));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (mut lines, mut commands) = (Vec::new(), Vec::new());
    for devices in [10, 100, 1_000] {
        let bus = Bus::start();
        let picture = Arc::new(pictures::with(devices));
        let client = runtime.block_on(bus.connect());
        let start = |is_bare| start_up(&runtime, &bus, &client, &picture, is_bare);
        let [bare_start, our_start] = medians([&mut || start(true), &mut || start(false)], 11);

        let (_bare, _ours) = runtime.block_on(async { (bare(&bus, &picture).await, ours(&bus, &picture).await) });
        let timed = |what: &mut dyn FnMut()| {
            let begin = Instant::now();
            what();
            begin.elapsed()
        };
        let all = |name, root| runtime.block_on(async { drop(black_box(managed(&client, name, root).await)) });
        let one = |name, root, interface| {
            runtime.block_on(async { drop(black_box(property(&client, name, root, interface).await)) });
        };
        let mut bare_all = || all(BARE, "/org/example");
        let mut our_all = || all("org.vfiod1", "/org/vfiod1");
        let mut bare_one = || one(BARE, "/org/example", "org.example.Device");
        let mut our_one = || one("org.vfiod1", "/org/vfiod1", "org.vfiod1.Device");
        let mut later = Picture::clone(&picture);
        later.counters.passes += 1;
        let mut compared = || assert!(black_box(difference::between(&picture, &later)).is_empty());
        let [ba, oa] = medians([&mut || timed(&mut bare_all), &mut || timed(&mut our_all)], 51);
        let [bo, oo] = medians([&mut || timed(&mut bare_one), &mut || timed(&mut our_one)], 1_001);
        let [status, list] = medians(
            [&mut || timed(&mut || command(&runtime, &bus, &["vfiodctl", "status"])), &mut || {
                timed(&mut || command(&runtime, &bus, &["vfiodctl", "list"]))
            }],
            11,
        );
        commands.push([our_start, status, list, bare_start, ba]);
        let [diff] = medians([&mut || timed(&mut compared)], 101);
        let ratio = |ours: Duration, bare: Duration| ours.as_secs_f64() / bare.as_secs_f64();
        lines.push(format!(
            "{devices:7} {our_start:>10.1?} {:>5.2} {oa:>10.1?} {:>5.2} {oo:>10.1?} {:>5.2} {diff:>10.1?}",
            ratio(our_start, bare_start),
            ratio(oa, ba),
            ratio(oo, bo),
        ));

        let mut group = criterion.benchmark_group("bus");
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("all objects, bare", devices), |b| b.iter(&mut bare_all));
        group.bench_function(BenchmarkId::new("all objects", devices), |b| b.iter(&mut our_all));
        group.bench_function(BenchmarkId::new("a property, bare", devices), |b| b.iter(&mut bare_one));
        group.bench_function(BenchmarkId::new("a property", devices), |b| b.iter(&mut our_one));
        group.bench_function(BenchmarkId::new("compare at rest", devices), |b| b.iter(&mut compared));
        group.finish();
    }
    println!("\nEach with its ratio to a bare zbus server; the last is what a pass at rest costs.");
    println!("devices   start-up        all objects        a property         compare");
    lines.iter().for_each(|line| println!("{line}"));
    if let [few, .., many] = &commands[..] {
        println!("\nWith 1,000 devices, and twice what it takes with 10 plus what the bare server of 1,000 takes:");
        for (n, (name, bare)) in
            [("start-up", many[3]), ("vfiodctl status", many[4]), ("vfiodctl list", many[4])].into_iter().enumerate()
        {
            println!("{name:16} {:>10.1?} of {:>10.1?}", many[n], few[n] * 2 + bare);
        }
    }
}
