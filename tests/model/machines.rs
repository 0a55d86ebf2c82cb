//! Random small machines, configurations for them, and what a keeper sees of both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vfiod::host::sim::faults::{About, Fault};
use vfiod::host::sim::modprobe::Flags;
use vfiod::host::sim::spec::Sriov;
use vfiod::host::sim::{Kernel, Performed, Process, Scope, Spec, Use, Version};
use vfiod::model::desired::{Desired, Entry, Identity, Select, VfRange, Wanted};
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::pci::{Address, Driver};
use vfiod::model::plan::{Guard, Outcome, Plan};
use vfiod::model::policy::Policy;
use vfiod::model::snapshot::{Fact, Snapshot, Variant};
use vfiod::model::time::Time;

/// What befalls one function before anything is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Nothing,
    Unbound,
    PinnedAndUnbound,
    OnVfio,
    OnVfioUnpinned,
    Opened,
    NodeOpen,
    Route,
    Disk,
    Releasing,
    Unreadable(u8),
    WithVfs,
}

/// One function: where, in which group, what it is.
#[derive(Debug, Clone)]
pub struct Part {
    pub address: Address,
    pub group: u8,
    pub vga: bool,
    pub bridge: bool,
    pub sriov: bool,
    pub mellanox: bool,
    pub fate: Fate,
}

/// How an entry selects.
#[derive(Debug, Clone)]
pub struct Wish {
    pub part: usize,
    pub slot: bool,
    pub vf: bool,
    pub whole: bool,
    pub mismatch: bool,
    pub auto: bool,
    pub allow: bool,
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub old: bool,
    pub loaded: bool,
    pub parts: Vec<Part>,
    pub wishes: Vec<Wish>,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Nothing),
        2 => Just(Fate::Unbound),
        2 => Just(Fate::PinnedAndUnbound),
        2 => Just(Fate::OnVfio),
        1 => Just(Fate::OnVfioUnpinned),
        1 => Just(Fate::Opened),
        1 => Just(Fate::NodeOpen),
        1 => Just(Fate::Route),
        1 => Just(Fate::Disk),
        1 => Just(Fate::Releasing),
        1 => (0..7u8).prop_map(Fate::Unreadable),
        1 => Just(Fate::WithVfs),
    ]
}

fn part() -> impl Strategy<Value = (u8, bool, bool, bool, bool, Fate)> {
    let rarely = || prop::bool::weighted(0.08);
    (0..8u8, rarely(), rarely(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), fate())
}

fn wish() -> impl Strategy<Value = Wish> {
    let rarely = || prop::bool::weighted(0.15);
    (0..8usize, prop::bool::weighted(0.3), rarely(), rarely(), rarely(), prop::bool::weighted(0.3), rarely()).prop_map(
        |(part, slot, vf, whole, mismatch, auto, allow)| Wish { part, slot, vf, whole, mismatch, auto, allow },
    )
}

pub fn machine() -> impl Strategy<Value = Machine> {
    let parts = prop::collection::vec(part(), 1..8);
    let wishes = prop::collection::vec(wish(), 0..5);
    (any::<bool>(), any::<bool>(), parts, wishes).prop_map(|(old, loaded, parts, wishes)| {
        let parts = parts.into_iter().enumerate().map(|(number, (group, vga, bridge, sriov, mellanox, fate))| {
            // Two functions a slot; far enough apart for VFs.
            let (slot, function) = (number / 2, number % 2);
            let address = Address {
                domain: 0,
                bus: u8::try_from(slot + 1).unwrap(),
                device: 0,
                function: u8::try_from(function).unwrap(),
            };
            Part { address, group, vga, bridge, sriov: sriov && function == 1, mellanox, fate }
        });
        Machine { old, loaded, parts: parts.collect(), wishes }
    })
}

impl Machine {
    pub fn kernel(&self) -> Kernel {
        let mut kernel = Kernel::new(if self.old { Version::V6_1 } else { Version::V6_12 });
        kernel.install_variant("mlx5_vfio_pci", "mlx5_vfio_pci");
        let pattern = "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*".to_owned();
        kernel.set_variants(vec![Variant { pattern, module: "mlx5_vfio_pci".parse().unwrap() }]);
        for part in &self.parts {
            let ids = if part.mellanox { "15b3:101e" } else { "8086:10d3" }.parse().unwrap();
            let mut spec = Spec::new(part.address, ids, if part.bridge { 0x06_0400 } else { 0x02_0000 });
            spec = spec.native("e1000e".parse().unwrap()).grouped(&part.group.to_string());
            spec.boot_vga = part.vga;
            spec.bridge = part.bridge;
            if part.sriov {
                spec = spec.sriov(Sriov { total: 4, ids, native: "igbvf".parse().ok(), given_up: false });
            }
            kernel.add_device(spec);
        }
        let module = "vfio_pci".parse().unwrap();
        kernel.modprobe(&module, Flags::default());
        for part in &self.parts {
            self.befall(&mut kernel, part);
        }
        if !self.loaded {
            kernel.modprobe_r(&module);
        }
        kernel.take_uevents();
        kernel
    }

    fn befall(&self, kernel: &mut Kernel, part: &Part) {
        let at = part.address;
        let unbind = |kernel: &mut Kernel| {
            if let Some(driver) = kernel.driver(at).cloned() {
                kernel.unbind(at, &driver);
            }
        };
        let give = |kernel: &mut Kernel| {
            unbind(kernel);
            kernel.write_override(at, Some(Driver::vfio_pci()));
            kernel.drivers_probe(at);
        };
        let who = Process::new(100 + u32::from(at.bus) * 2 + u32::from(at.function), "holder", 1000);
        match part.fate {
            Fate::Nothing => {}
            Fate::Unbound => unbind(kernel),
            Fate::PinnedAndUnbound => {
                unbind(kernel);
                kernel.write_override(at, Some(Driver::vfio_pci()));
            }
            Fate::OnVfio => give(kernel),
            Fate::OnVfioUnpinned => {
                give(kernel);
                kernel.write_override(at, None);
            }
            Fate::Opened => {
                give(kernel);
                kernel.open(at, &who);
            }
            Fate::NodeOpen => kernel.open_node(at, "/dev/ptp0", &who),
            Fate::Route => kernel.set_use(at, Use::Network("default route".to_owned())),
            Fate::Disk => kernel.set_use(at, Use::Storage("mounted at /".to_owned())),
            Fate::Releasing => {
                give(kernel);
                kernel.open(at, &who);
                unbind(kernel);
            }
            Fate::Unreadable(what) => {
                let facts = [
                    About::Driver,
                    About::Group,
                    About::Pin,
                    About::Holders,
                    About::Network,
                    About::Storage,
                    About::Vfs,
                ];
                kernel.break_it(Fault::Unreadable(at, facts[usize::from(what)]));
            }
            Fate::WithVfs => drop(kernel.set_vfs(at, 2)),
        }
    }

    pub fn desired(&self) -> Desired {
        let entries = self.wishes.iter().enumerate().filter_map(|(number, wish)| {
            let at = self.parts.get(wish.part)?.address;
            let select = match (wish.vf, wish.slot) {
                (true, _) => Select { vf: Some(VfRange { pf: at, first: 0, last: 1 }), ..Select::default() },
                (_, true) => Select { slot: Some(at.slot()), ..Select::default() },
                _ => Select { address: Some(at), ..Select::default() },
            };
            let id = wish.mismatch.then(|| "10de:2684".parse().unwrap());
            let allow = if wish.allow {
                BTreeSet::from([Guard::BootDisplay, Guard::CarriesRoute, Guard::MountedDisk])
            } else {
                BTreeSet::new()
            };
            Some(Entry {
                name: format!("entry{number}"),
                select,
                identity: Identity { id, ..Identity::default() },
                driver: if wish.auto { Wanted::Auto } else { Wanted::Named(Driver::vfio_pci()) },
                whole_group: wish.whole && !wish.vf,
                allow,
            })
        });
        Desired { entries: entries.collect(), ..Desired::default() }
    }

    pub fn keeper(&self) -> Keeper {
        Keeper::new(self.desired(), Policy::default(), Memory::default())
    }
}

/// One pass as the loop makes it: observe, look as long as that is asked for, decide.
pub fn pass(kernel: &mut Kernel, keeper: &mut Keeper, now: Time) -> (Snapshot, Plan) {
    let mut of = kernel.scope(&keeper.desired, keeper.needs_vfio());
    of.pins = of.functions.clone();
    let mut looks = BTreeMap::new();
    let mut pinned = None;
    for _ in 0..5 {
        let mut snapshot = kernel.observe(&of, now);
        for (address, look) in &looks {
            if let Some(function) = snapshot.functions.get_mut(address) {
                function.look = Some(std::sync::Arc::clone(look));
            }
        }
        if let Some(pinned) = &pinned {
            snapshot.pinned = Fact::clone(pinned);
        }
        let seen = keeper.learn(&snapshot, now);
        let plan = keeper.decide(&seen);
        let fresh = plan.look.iter().any(|address| !looks.contains_key(address));
        if !fresh && (pinned.is_some() || !plan.look_for_pinned) {
            return (snapshot, plan);
        }
        let closer = Scope { look: plan.look.clone(), pinned: plan.look_for_pinned, ..Scope::default() };
        let found = kernel.observe(&closer, now);
        for address in &plan.look {
            if let Some(look) = found.functions.get(address).and_then(|function| function.look.clone()) {
                looks.insert(*address, look);
            }
        }
        if plan.look_for_pinned {
            of.functions.extend(found.pinned.is().into_iter().flat_map(|pinned| pinned.keys()));
            pinned = Some(found.pinned);
        }
    }
    panic!("the looks have no end");
}

/// Performs a plan, modules first; each act until a step does not go on or blocks.
pub fn perform(kernel: &mut Kernel, keeper: &mut Keeper, snapshot: &Snapshot, plan: &Plan, now: Time) -> bool {
    let seen = keeper.pass(snapshot);
    let mut acts: Vec<_> = plan.acts.iter().collect();
    acts.sort_by_key(|act| act.key);
    for act in acts {
        keeper.begun((*act).clone(), now, Time(u64::MAX), &seen);
        let mut outcomes = Vec::new();
        for (number, step) in act.steps.iter().enumerate() {
            let outcome = match kernel.perform(step) {
                Performed::Done(outcome) => outcome,
                Performed::Blocks(_) => return false,
            };
            let goes_on = outcome.goes_on();
            outcomes.push((number, outcome));
            if !goes_on {
                break;
            }
        }
        keeper.ended(act.key, &outcomes);
        let bad = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Stalled));
        assert!(!bad);
    }
    kernel.take_uevents();
    true
}
