//! Pictures to serve.

use std::collections::BTreeMap;

use vfiod::model::concern::Concern;
use vfiod::model::group_state::GroupState;
use vfiod::model::module::ModuleState;
use vfiod::model::pci::{Address, Driver};
use vfiod::model::picture::{
    Counters, DeviceView, EntryView, GroupView, HoldView, Iommu, ModuleView, Picture, SCHEMA, UserView,
};
use vfiod::model::policy::Mode;
use vfiod::model::preflight::{Code, Severity};
use vfiod::model::state::{Health, State};

pub fn device(address: Address, group: Option<u32>) -> DeviceView {
    DeviceView {
        entry: Some("gpu-0".into()),
        ids: "10de:2684".parse().unwrap(),
        subsystem: None,
        class: "030000".into(),
        description: "NVIDIA Corporation AD102".into(),
        driver: Some(Driver::vfio_pci()),
        on_vfio: true,
        wanted: Some(Driver::vfio_pci()),
        state: State::Ready,
        reason: String::new(),
        remedy: String::new(),
        since_usec: 1_700_000_000_000_000,
        not_before_usec: 0,
        group,
        passthrough_id: format!("vfio_device_{}_{address}", group.unwrap_or_default()),
        nodes: vec!["/dev/vfio/15".into()],
        users: vec![UserView { pid: 4_242, comm: "qemu".into(), unit: "vm.scope".into(), uid: 64 }],
        drifts: 2,
        repairs: 1,
        last_drift_usec: 1_700_000_000_000_001,
        last_cause: "unbound by driverctl".into(),
        findings: vec![Concern {
            severity: Severity::Warning,
            code: Code::NoReset,
            why: "The kernel knows no way to reset it.".into(),
        }],
    }
}

/// A function of a large machine.
pub fn address(index: usize) -> Address {
    format!("0000:{:02x}:{:02x}.{:x}", index >> 8, index >> 3 & 31, index & 7).parse().unwrap()
}

/// One with so many devices, two a group.
pub fn with(devices: usize) -> Picture {
    let mut picture = small();
    picture.devices.clear();
    picture.groups.clear();
    for index in 0..devices {
        let group = u32::try_from(index / 2).unwrap();
        let address = address(index);
        picture.devices.insert(address, device(address, Some(group)));
        let group = picture.groups.entry(group).or_insert_with(|| GroupView {
            state: GroupState::Ready,
            members: Vec::new(),
            viable: true,
            blockers: Vec::new(),
            reserved: vec![(0xfee0_0000, 0xfeef_ffff, "msi".into())],
        });
        group.members.push(address.to_string());
    }
    picture
}

/// One of each kind, and two devices.
pub fn small() -> Picture {
    let gpu: Address = "0000:01:00.0".parse().unwrap();
    let audio: Address = "0000:01:00.1".parse().unwrap();
    let module = ModuleView {
        state: ModuleState::Live,
        reason: String::new(),
        since_usec: 1_700_000_000_000_000,
        not_before_usec: 0,
        refcount: Some(1),
        used_by: vec!["vfio_pci".into()],
        required: true,
        blocked: false,
        fighting: false,
        last_unload_usec: 0,
        last_unload_by: "modprobe (812, ssh.service)".into(),
    };
    Picture {
        schema: SCHEMA,
        version: "0.1.0".into(),
        health: Health::Ready,
        mode: Mode::Enforce,
        interval_usec: 5_000_000,
        counters: Counters { passes: 1, drifts: 2, repairs: 3, failures: 4, last_repair_latency_usec: 5 },
        iommu: Iommu { kinds: vec!["intel".into()], groups: 20 },
        findings: vec![Concern {
            severity: Severity::Warning,
            code: Code::UnsafeInterrupts,
            why: "A guest can forge interrupts.".into(),
        }],
        state_trouble: String::new(),
        holds: vec![HoldView {
            id: 3,
            target: "gpu-0".into(),
            who: "virsh".into(),
            why: "firmware".into(),
            until_usec: 9,
            uid: 0,
            pid: 77,
        }],
        entries: BTreeMap::from([(
            "gpu-0".into(),
            EntryView {
                state: State::Ready,
                reason: String::new(),
                remedy: String::new(),
                since_usec: 1_700_000_000_000_000,
                not_before_usec: 0,
                devices: vec![gpu, audio],
            },
        )]),
        devices: BTreeMap::from([(gpu, device(gpu, Some(15))), (audio, device(audio, Some(15)))]),
        groups: BTreeMap::from([(
            15,
            GroupView {
                state: GroupState::Ready,
                members: vec![gpu.to_string(), audio.to_string()],
                viable: true,
                blockers: vec!["0000:01:00.2 (xhci_hcd)".into()],
                reserved: vec![(0xfee0_0000, 0xfeef_ffff, "msi".into())],
            },
        )]),
        modules: BTreeMap::from([("vfio_pci".parse().unwrap(), module)]),
    }
}
