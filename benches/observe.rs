//! A pass over fake machines of 16, 256 and 4,096 devices, beside only reading the same links.
//!
//! Prints the ratio of the two, and how the time a device grows; `cargo bench` measures both.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

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
use vfiod::model::pci::Driver;
use vfiod::model::policy::Policy;
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

/// The median of some runs of both, taken in turns.
fn medians(mut first: impl FnMut(), mut second: impl FnMut(), runs: usize) -> (Duration, Duration) {
    let time = |run: &mut dyn FnMut()| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    };
    let (mut a, mut b): (Vec<Duration>, Vec<Duration>) =
        (0..runs).map(|_| (time(&mut first), time(&mut second))).unzip();
    a.sort_unstable();
    b.sort_unstable();
    (a[runs / 2], b[runs / 2])
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(2));
    let policy = Policy::default();
    let mut ratios = Vec::new();
    for devices in [16, 256, 4096] {
        let machine = Machine::with(devices);
        let (links, desired) = (machine.links(), machine.desired());
        let mut observer = Observer::new(Root::trusted(machine.tree.path()));
        let besides = BTreeSet::new();
        let scope = Scope { desired: &desired, policy: &policy, needs_vfio: true, besides: &besides };
        let mut observe = || {
            black_box(observer.observe(scope, Time::BOOT));
        };
        observe();
        let (reading, pass) = medians(|| read(&links), &mut observe, 4096 * 8 / devices + 11);
        ratios.push((devices, reading, pass));
        let mut group = criterion.benchmark_group("pass");
        group.throughput(Throughput::Elements(devices as u64)).sample_size(20);
        group.bench_function(BenchmarkId::new("read", devices), |b| b.iter(|| read(&links)));
        group.bench_function(BenchmarkId::new("observe", devices), |b| b.iter(&mut observe));
        group.finish();
    }
    for (devices, reading, pass) in ratios {
        let (a, b) = (reading.as_secs_f64(), pass.as_secs_f64());
        let each = pass.as_nanos() / devices as u128;
        println!("{devices:5} devices: read {reading:?}, observe {pass:?}: ratio {:.2}, {each} ns a device", b / a);
    }
}
