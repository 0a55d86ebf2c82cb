//! What the configuration asks, independent of what hardware is there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::pci::{Address, BridgePath, Driver, Ids, Module, Slot};
use super::plan::Guard;

/// All that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Desired {
    /// Which modules to keep.
    pub modules: Keep,
    /// The entries `[device.NAME]`, in order of their names.
    pub entries: Vec<Entry>,
}

/// `modules.keep`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// What VFIO needs on this kernel, once a device is declared or a function was on VFIO.
    #[default]
    Auto,
    /// These, unconditionally.
    List(Vec<Module>),
}

/// One entry `[device.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Where the device is.
    pub select: Select,
    /// What the device must be.
    pub identity: Identity,
    /// Which driver it gets.
    pub driver: Wanted,
    /// `group = "whole"`: every endpoint of its group is declared with it.
    pub whole_group: bool,
    /// Guards that are lifted for it.
    pub allow: BTreeSet<Guard>,
}

/// Where a device is. At least one of the first three is given; `vf` never goes with others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Select {
    /// `address`: one function.
    pub address: Option<Address>,
    /// `address` without a function: all functions of the slot, all or none.
    pub slot: Option<Slot>,
    /// `path`: by the bridges above it. With `address`: both must mean the same function.
    pub path: Option<BridgePath>,
    /// `pf` and `vf`: virtual functions by index.
    pub vf: Option<VfRange>,
}

/// `pf = "0000:03:00.0"`, `vf = "0-3"`: virtual functions of a physical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VfRange {
    /// The physical function.
    pub pf: Address,
    /// The first index, from 0.
    pub first: u32,
    /// The last index, inclusive.
    pub last: u32,
}

/// What a device must be; each that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// `id`: vendor and device. For a slot: what its first function must be.
    pub id: Option<Ids>,
    /// `subsystem`: subsystem vendor and device.
    pub subsystem: Option<Ids>,
    /// `serial`: the device serial number, as lspci shows it.
    pub serial: Option<String>,
}

/// `driver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Nothing is said: any VFIO driver that it is on already, else vfio-pci. With `managed='yes'` libvirt
    /// moves a device that has a variant driver onto that while a domain starts (libvirt 12.9).
    Any,
    /// `"auto"`: the best variant driver by libvirt's rule, else vfio-pci. One that is on a driver of its
    /// vendor's that is itself VFIO stays there.
    Auto,
    /// This one.
    Named(Driver),
}
