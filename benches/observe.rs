//! A pass at rest over fake machines of 16, 256 and 4,096 devices, beside only reading the same links.
//!
//! A pass is to observe, learn, decide, and compare the public picture with the last. `cargo bench`
//! measures each; the table at the end has the ratios (a pass may take twice the reading), how a
//! pass grows from the smallest machine on beside the reading (1 is linear), and what is resident.
#![allow(missing_docs, reason = "a benchmark")]

#[path = "../tests/common/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use tree::{Device, NIC, Tree};
use vfiod::host::observe::Observer;
use vfiod::host::port::Scope;
use vfiod::host::root::Root;
use vfiod::model::desired::{Desired, Entry, Identity, Keep, Select, Wanted};
use vfiod::model::event;
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::pci::Driver;
use vfiod::model::plan::Plan;
use vfiod::model::policy::Policy;
use vfiod::model::snapshot::{Fact, Snapshot};
use vfiod::model::state::Health;
use vfiod::model::status::Status;
use vfiod::model::time::Time;

/// Two devices a group, as cards with an audio function are.
const A_GROUP: usize = 2;

struct Machine {
    tree: Tree,
    names: Vec<String>,
}

impl Machine {
    fn with(devices: usize) -> Machine {
        let tree = Tree::new();
        let mut names = Vec::new();
        for index in 0..devices {
            // 256 functions a bus, and as many buses as it takes.
            let name = format!("0000:{:02x}:{:02x}.{:x}", index >> 8, index >> 3 & 31, index & 7);
            let group = u32::try_from(index / A_GROUP).unwrap();
            tree.add_device(Device { address: &name, driver: Some("vfio-pci"), group: Some(group), ..NIC });
            names.push(name);
        }
        Machine { tree, names }
    }

    fn desired(&self) -> Desired {
        let entry = |name: &String| Entry {
            name: name.clone(),
            select: Select { address: Some(name.parse().unwrap()), ..Select::default() },
            identity: Identity::default(),
            driver: Wanted::Named(Driver::vfio_pci()),
            whole_group: false,
            allow: BTreeSet::new(),
        };
        Desired { modules: Keep::Auto, entries: self.names.iter().map(entry).collect() }
    }

    /// The paths that a pass at rest looks at, made beforehand.
    fn links(&self) -> Links {
        let devices = self.tree.path().join("sys/bus/pci/devices");
        let groups = 0..self.names.len().div_ceil(A_GROUP);
        Links {
            modules: self.tree.path().join("proc/modules"),
            bound: self.tree.path().join("sys/bus/pci/drivers/vfio-pci"),
            devices: self.names.iter().map(|name| devices.join(name)).collect(),
            links: self
                .names
                .iter()
                .flat_map(|name| [devices.join(name).join("driver"), devices.join(name).join("iommu_group")])
                .collect(),
            groups: groups
                .map(|group| {
                    let members = format!("sys/kernel/iommu_groups/{group}/devices");
                    (self.tree.path().join(members), self.tree.path().join(format!("dev/vfio/{group}")))
                })
                .collect(),
        }
    }
}

struct Links {
    modules: PathBuf,
    bound: PathBuf,
    devices: Vec<PathBuf>,
    links: Vec<PathBuf>,
    groups: Vec<(PathBuf, PathBuf)>,
}

/// Only reads: no parsing, no maps.
fn read(links: &Links) {
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().len()).sum::<usize>();
    black_box(fs::read(&links.modules).unwrap());
    black_box(names(&links.bound));
    for device in &links.devices {
        black_box(fs::metadata(device).unwrap());
    }
    for link in &links.links {
        black_box(fs::read_link(link).unwrap());
    }
    for (members, node) in &links.groups {
        black_box(names(members));
        black_box(fs::metadata(node).unwrap());
    }
}

/// All that a pass at rest does, but for its writing to the journal and to the disk.
struct Loop {
    observer: Observer,
    keeper: Keeper,
    told: Option<Status>,
}

impl Loop {
    fn over(machine: &Machine) -> Loop {
        let root = Root::trusted(machine.tree.path());
        let pin = |name: &String| {
            let object = root.inode(&format!("/sys/bus/pci/devices/{name}")).unwrap();
            (name.parse().unwrap(), (object, Fact::Is(Driver::vfio_pci())))
        };
        let mut observer = Observer::new(root.clone());
        // At rest the overrides have been read, some time ago.
        observer.remember_pins(machine.names.iter().map(pin).collect());
        Loop { observer, keeper: Keeper::new(machine.desired(), Policy::default(), Memory::default()), told: None }
    }

    fn observe(&mut self) -> Snapshot {
        let Keeper { desired, policy, .. } = &self.keeper;
        let besides = BTreeSet::new();
        let scope = Scope { desired, policy, needs_vfio: self.keeper.needs_vfio(), besides: &besides };
        self.observer.observe(scope, Time::BOOT)
    }

    fn pass(&mut self) {
        let snapshot = self.observe();
        let pass = self.keeper.learn(&snapshot, Time::BOOT);
        let plan = self.keeper.decide(&pass);
        let looks = self.keeper.perhaps_open(&pass, false);
        assert!(plan == Plan::default() && looks.is_empty(), "nothing is to be done at rest");
        let status = self.keeper.status(&pass, &plan);
        let events = event::between(self.told.as_ref(), &status, Time::BOOT);
        assert!(events.is_empty() && status.health == Health::Ready, "nothing is to be told at rest");
        black_box(status.line());
        self.told = Some(status);
    }
}

/// The medians of some runs of each, taken in turns.
fn medians<const N: usize>(mut what: [&mut dyn FnMut(); N], runs: usize) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..runs {
        for (run, times) in what.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            run();
            times.push(begin.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[runs / 2]
    })
}

/// A line of /proc/self/status in KiB: `VmRSS`, what is resident; `VmHWM`, the most there was.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    found.unwrap().parse().unwrap()
}

struct Figures {
    devices: usize,
    read: Duration,
    observe: Duration,
    pass: Duration,
    resident: u64,
}

impl Figures {
    fn print(&self, smallest: &Figures) {
        let Figures { devices, read, observe, pass, resident } = self;
        let ratio = |time: &Duration| time.as_secs_f64() / read.as_secs_f64();
        // How much longer than on the smallest machine, by how much longer only reading takes.
        let growth = |time: fn(&Figures) -> Duration| time(self).as_secs_f64() / time(smallest).as_secs_f64();
        let each = pass.as_nanos() / *devices as u128;
        println!(
            "{devices:7} {read:>10.1?} {observe:>10.1?} {pass:>10.1?} {:>10.2} {:>10.2} {each:>8} ns {:>10.2} {resident:>7} KiB",
            ratio(observe),
            ratio(pass),
            growth(|f| f.pass) / growth(|f| f.read),
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(2));
    let mut all = Vec::new();
    for devices in [16, 256, 4096] {
        let machine = Machine::with(devices);
        let links = machine.links();
        let before = memory("VmRSS");
        let mut resting = Loop::over(&machine);
        let mut observing = Loop::over(&machine);
        observing.observe();
        // The first pass reads the cards; the second has two pictures to compare.
        (0..2).for_each(|_| resting.pass());
        let resident = memory("VmRSS").saturating_sub(before) / 2;
        let runs = 4096 * 8 / devices + 11;
        let [read_only, observe, pass] =
            medians([&mut || read(&links), &mut || drop(black_box(observing.observe())), &mut || resting.pass()], runs);
        all.push(Figures { devices, read: read_only, observe, pass, resident });
        let mut group = criterion.benchmark_group("rest");
        group.throughput(Throughput::Elements(devices as u64)).sample_size(20);
        group.bench_function(BenchmarkId::new("read", devices), |b| b.iter(|| read(&links)));
        group.bench_function(BenchmarkId::new("observe", devices), |b| b.iter(|| observing.observe()));
        group.bench_function(BenchmarkId::new("pass", devices), |b| b.iter(|| resting.pass()));
        group.finish();
    }
    println!("\ndevices  only read    observe       pass  observe/ro    pass/ro   a device  vs growth   resident");
    all.iter().for_each(|figures| figures.print(&all[0]));
    println!("At most {} KiB were resident, the trees' paths of this benchmark included.", memory("VmHWM"));
}
