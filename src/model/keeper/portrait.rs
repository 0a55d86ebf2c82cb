//! The public picture: what stands how, in the shapes and units of D-Bus and JSON.

use std::collections::{BTreeMap, BTreeSet};

use super::{Keeper, Pass};
use crate::model::cause::Unload;
use crate::model::concern::Concern;
use crate::model::group_blockers::GroupBlockers;
use crate::model::group_state::GroupState;
use crate::model::guard::blockers;
use crate::model::pci::{Address, Driver, Ids, Module};
use crate::model::picture::{
    Clock, DeviceView, EntryView, GroupView, HoldView, Iommu, ModuleView, Picture, SCHEMA, UserView,
};
use crate::model::preflight::passthrough;
use crate::model::record::Record;
use crate::model::snapshot::{Function, Group, Snapshot};
use crate::model::state::State;
use crate::model::status::{DeviceStatus, ModuleStatus, Standing, Status};
use crate::model::time::Time;

/// What a picture shows besides: what is not asked of the kernel at every pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// `watch.interval`.
    pub interval_usec: u64,
    /// What makes points in time of times.
    pub clock: Clock,
    /// The machine's IOMMU.
    pub iommu: Iommu,
    /// Vendors and devices in words.
    pub names: BTreeMap<Ids, String>,
    /// Why state is not stored, or for this boot only; empty: all of it is.
    pub state_trouble: String,
}

impl Keeper {
    /// The functions that a picture shows: declared, or on a VFIO driver.
    #[must_use]
    pub fn shown(&self, snapshot: &Snapshot, status: &Status) -> BTreeSet<Address> {
        let on_vfio =
            snapshot.functions.iter().filter(|(_, function)| snapshot.on_vfio(function) && !function.card.bridge);
        on_vfio.map(|(address, _)| *address).chain(status.devices.keys().copied()).collect()
    }

    /// The public picture after a pass.
    #[must_use]
    pub fn picture(&self, pass: &Pass<'_>, status: &Status, frame: &Frame) -> Picture {
        let shown = self.shown(pass.snapshot, status);
        // Where nothing is declared nothing is checked any more.
        let checked = !self.desired.entries.is_empty();
        let groups: BTreeSet<u32> =
            shown.iter().filter_map(|address| Some(pass.snapshot.group_of(*address)?.0)).collect();
        let mut picture = Picture {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            health: status.health,
            mode: self.policy.mode,
            interval_usec: frame.interval_usec,
            counters: self.memory.records.counters,
            iommu: frame.iommu.clone(),
            findings: if checked { self.memory.concerns.host.clone() } else { Vec::new() },
            state_trouble: frame.state_trouble.clone(),
            holds: self.hold_views(),
            entries: self.entry_views(status, frame.clock),
            devices: shown
                .iter()
                .filter_map(|address| Some((*address, self.device_view(pass, status, frame, *address)?)))
                .collect(),
            groups: groups
                .into_iter()
                .filter_map(|number| Some((number, group_view(pass.snapshot, pass.snapshot.groups.get(&number)?))))
                .collect(),
            modules: status
                .modules
                .iter()
                .map(|(module, status)| (module.clone(), self.module_view(pass.snapshot, module, status, frame.clock)))
                .collect(),
        };
        let blockers = GroupBlockers::of_picture(&picture);
        picture.groups.values_mut().for_each(|group| blockers.block(group));
        picture.printable()
    }

    fn hold_views(&self) -> Vec<HoldView> {
        self.memory.all_holds().into_iter().map(|(id, hold)| hold.view(id)).collect()
    }

    fn entry_views(&self, status: &Status, clock: Clock) -> BTreeMap<String, EntryView> {
        let mut devices: BTreeMap<&str, Vec<Address>> = BTreeMap::new();
        for (address, device) in &status.devices {
            devices.entry(device.entry.as_str()).or_default().push(*address);
        }
        let view = |(name, standing): (&String, &Standing)| {
            let view = EntryView {
                state: standing.state,
                reason: standing.reason.clone(),
                remedy: standing.remedy.clone(),
                since_usec: since(self.memory.records.entries.get(name), clock),
                not_before_usec: usec(standing.not_before, clock),
                devices: devices.remove(name.as_str()).unwrap_or_default(),
            };
            (name.clone(), view)
        };
        status.entries.iter().map(view).collect()
    }

    /// One function, shown or not; `unmanaged` where no entry declares it.
    #[must_use]
    pub fn device_view(&self, pass: &Pass<'_>, status: &Status, frame: &Frame, address: Address) -> Option<DeviceView> {
        let function = pass.snapshot.functions.get(&address)?;
        let declared = status.devices.get(&address);
        let unmanaged = Standing::plain(State::Unmanaged);
        let standing = declared.map_or(&unmanaged, |device| &device.standing);
        let record = self.memory.records.devices.get(&address);
        let fall = declared.and_then(|device| device.last_cause.as_ref());
        let card = &function.card;
        let group = pass.snapshot.group_of(address);
        Some(DeviceView {
            entry: declared.map(|device| device.entry.clone()),
            ids: card.ids,
            subsystem: card.subsystem.is().copied(),
            class: format!("{:06x}", card.class),
            description: frame.names.get(&card.ids).cloned().unwrap_or_default(),
            driver: function.driver.is().cloned(),
            on_vfio: pass.snapshot.on_vfio(function),
            wanted: declared.map(|device: &DeviceStatus| device.wanted.clone()),
            state: standing.state,
            reason: standing.reason.clone(),
            remedy: standing.remedy.clone(),
            since_usec: since(record, frame.clock),
            not_before_usec: usec(standing.not_before, frame.clock),
            group: group.map(|(number, _)| number),
            passthrough_id: group
                .and_then(|(number, group)| passthrough::name(number, &group.members, address))
                .unwrap_or_default(),
            nodes: nodes(group),
            users: self.users(address),
            drifts: record.map_or(0, |record| record.drifts),
            repairs: record.map_or(0, |record| record.repairs),
            last_drift_usec: usec(fall.map(|fall| fall.at), frame.clock),
            last_cause: fall.map(ToString::to_string).unwrap_or_default(),
            findings: declared.map(|_| self.findings(pass, address, card.object)).unwrap_or_default(),
        })
    }

    fn findings(&self, pass: &Pass<'_>, address: Address, object: u64) -> Vec<Concern> {
        let checked = self.memory.concerns.about(address, object).iter().cloned();
        self.unrecovered(pass, address).into_iter().chain(checked).collect()
    }

    fn users(&self, address: Address) -> Vec<UserView> {
        let holders = self.memory.open.get(&address).into_iter().flatten();
        let users = holders.map(|holder| UserView {
            pid: holder.pid,
            comm: holder.comm.clone(),
            unit: holder.unit.clone(),
            uid: holder.uid,
        });
        users.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn module_view(&self, snapshot: &Snapshot, module: &Module, status: &ModuleStatus, clock: Clock) -> ModuleView {
        let record = self.memory.records.modules.get(module);
        let facts = snapshot.modules.get(module);
        ModuleView {
            state: status.state,
            reason: status.reason.clone(),
            since_usec: since(record, clock),
            not_before_usec: usec(status.not_before, clock),
            refcount: facts.and_then(|facts| facts.refcount),
            used_by: facts.map(|facts| facts.used_by.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            required: true,
            blocked: status.blocked,
            fighting: status.fighting,
            last_unload_usec: usec(status.last_unload.as_ref().map(|unload| unload.at), clock),
            last_unload_by: status.last_unload.as_ref().map(unloaded_by).unwrap_or_default(),
        }
    }
}

/// Who unloaded it, and how often the same one has.
fn unloaded_by(unload: &Unload) -> String {
    match &unload.again {
        Some(again) => format!("{}, {again}", unload.by),
        None => unload.by.to_string(),
    }
}

fn nodes(group: Option<(u32, &Group)>) -> Vec<String> {
    let there = group.filter(|(_, group)| group.node.is().is_some());
    there.map(|(number, _)| format!("/dev/vfio/{number}")).into_iter().collect()
}

/// A group, but for its reserved regions, which no snapshot has.
#[must_use]
pub fn group_view(snapshot: &Snapshot, group: &Group) -> GroupView {
    let host_drivers = blockers(snapshot, group);
    let host_drivers = host_drivers.iter().map(|(address, driver): &(Address, Driver)| format!("{address} ({driver})"));
    let blockers: Vec<String> =
        host_drivers.chain(group.others.iter().map(|other| format!("{other} (no PCI device)"))).collect();
    let unknown = |address: &Address| {
        snapshot.functions.get(address).is_none_or(|function: &Function| function.driver.unreadable().is_some())
    };
    GroupView {
        state: GroupState::of(snapshot, group),
        members: group.members.iter().map(ToString::to_string).chain(group.others.iter().cloned()).collect(),
        viable: blockers.is_empty() && !group.members.iter().any(unknown),
        blockers,
        reserved: group
            .reserved
            .is()
            .map(|regions| regions.iter().map(|region| (region.start, region.end, region.kind.clone())).collect())
            .unwrap_or_default(),
    }
}

fn usec(time: Option<Time>, clock: Clock) -> u64 {
    time.map_or(0, |time| clock.realtime_usec(time))
}

fn since(record: Option<&Record>, clock: Clock) -> u64 {
    usec(record.map(|record| record.since), clock)
}
