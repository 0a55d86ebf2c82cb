//! What the properties of an object say, taken from the picture.

use zbus::{ObjectPath, Variant};

use super::object::Object;
use crate::model::concern::Concern;
use crate::model::pci::Address;
use crate::model::picture::{Counters, DeviceView, EntryView, GroupView, ModuleView, Picture};

/// Whether a change of a property is signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emits {
    /// It is, with the new value.
    Value,
    /// It never changes while its object lives.
    Const,
    /// It is not: a counter, a duration, a user.
    Nothing,
}

/// A property and its value now.
#[derive(Debug, PartialEq)]
pub struct Property<'a> {
    /// Its name.
    pub name: &'static str,
    /// Whether its changes are signalled.
    pub emits: Emits,
    /// What it says.
    pub value: Variant<'a>,
}

fn value<'a>(name: &'static str, value: impl Into<Variant<'a>>) -> Property<'a> {
    Property { name, emits: Emits::Value, value: value.into() }
}

fn constant<'a>(name: &'static str, value: impl Into<Variant<'a>>) -> Property<'a> {
    Property { name, emits: Emits::Const, value: value.into() }
}

fn silent<'a>(name: &'static str, value: impl Into<Variant<'a>>) -> Property<'a> {
    Property { name, emits: Emits::Nothing, value: value.into() }
}

/// The properties of an object in the order of the contract; none of an object that is not there.
#[must_use]
pub fn of<'a>(object: &Object, picture: &'a Picture) -> Vec<Property<'a>> {
    counted(object, picture, picture.counters)
}

/// The same with these counters in place of the picture's.
#[must_use]
pub fn counted<'a>(object: &Object, picture: &'a Picture, counters: Counters) -> Vec<Property<'a>> {
    let found = match object {
        Object::Manager => Some(manager(picture, counters)),
        Object::Entry(name) => picture.entries.get_key_value(name).map(|(name, view)| entry(name, view)),
        Object::Device(address) => picture.devices.get(address).map(|view| device(*address, view, picture)),
        Object::Group(number) => picture.groups.get(number).map(|view| group(*number, view, picture)),
        Object::Module(name) => picture.modules.get_key_value(name).map(|(name, view)| module(name.as_str(), view)),
    };
    found.unwrap_or_default()
}

fn manager(picture: &Picture, counters: Counters) -> Vec<Property<'_>> {
    let holds: Vec<_> = picture
        .holds
        .iter()
        .map(|h| (h.id, h.target.as_str(), h.who.as_str(), h.why.as_str(), h.until_usec, h.uid, h.pid))
        .collect();
    let iommu = [("Kinds", Variant::from(texts(&picture.iommu.kinds))), ("Groups", picture.iommu.groups.into())];
    vec![
        constant("Version", picture.version.as_str()),
        value("Health", picture.health.as_str()),
        value("Mode", picture.mode.as_str()),
        value("IntervalUSec", picture.interval_usec),
        silent("Passes", counters.passes),
        silent("Drifts", counters.drifts),
        silent("Repairs", counters.repairs),
        silent("Failures", counters.failures),
        silent("LastRepairLatencyUSec", counters.last_repair_latency_usec),
        value("Holds", holds),
        value("Iommu", std::collections::BTreeMap::from(iommu)),
        value("Findings", findings(&picture.findings)),
        value("StateTrouble", picture.state_trouble.as_str()),
    ]
}

fn entry<'a>(name: &'a str, view: &'a EntryView) -> Vec<Property<'a>> {
    vec![
        constant("Name", name),
        value("State", view.state.as_str()),
        value("Reason", view.reason.as_str()),
        value("Remedy", view.remedy.as_str()),
        value("StateTimestamp", view.since_usec),
        value("Devices", view.devices.iter().map(|address| Object::Device(*address).path()).collect::<Vec<_>>()),
    ]
}

fn device<'a>(address: Address, view: &'a DeviceView, picture: &Picture) -> Vec<Property<'a>> {
    let group = view.group.filter(|number| picture.groups.contains_key(number));
    let group = group.map_or(ObjectPath::from_static_str_unchecked("/"), |number| Object::Group(number).path());
    let users: Vec<_> = view.users.iter().map(|user| (user.pid, named(&user.comm, &user.unit))).collect();
    vec![
        constant("Address", address.to_string()),
        value("Ids", view.ids.to_string()),
        value("Class", view.class.as_str()),
        value("Description", view.description.as_str()),
        value("Driver", view.driver.as_ref().map_or("", |driver| driver.as_str())),
        value("WantedDriver", view.wanted.as_ref().map_or("", |driver| driver.as_str())),
        value("State", view.state.as_str()),
        value("Reason", view.reason.as_str()),
        value("Remedy", view.remedy.as_str()),
        value("StateTimestamp", view.since_usec),
        value("Group", group),
        value("GroupNumber", signed(view.group)),
        value("PassthroughId", view.passthrough_id.as_str()),
        value("Nodes", texts(&view.nodes)),
        silent("Users", users),
        silent("Drifts", view.drifts),
        silent("Repairs", view.repairs),
        value("LastDriftTimestamp", view.last_drift_usec),
        value("LastCause", view.last_cause.as_str()),
        value("Findings", findings(&view.findings)),
    ]
}

fn group<'a>(number: u32, view: &'a GroupView, picture: &Picture) -> Vec<Property<'a>> {
    let devices = view.members.iter().filter_map(|member| member.parse().ok());
    let devices = devices.filter(|address| picture.devices.contains_key(address));
    let reserved: Vec<_> = view.reserved.iter().map(|(first, last, kind)| (*first, *last, kind.as_str())).collect();
    vec![
        constant("Number", number),
        value("Members", texts(&view.members)),
        value("Devices", devices.map(|address| Object::Device(address).path()).collect::<Vec<_>>()),
        value("State", view.state.as_str()),
        value("Viable", view.viable),
        value("Blockers", texts(&view.blockers)),
        value("Reserved", reserved),
    ]
}

fn module<'a>(name: &'a str, view: &'a ModuleView) -> Vec<Property<'a>> {
    vec![
        constant("Name", name),
        value("State", view.state.as_str()),
        value("Reason", view.reason.as_str()),
        value("StateTimestamp", view.since_usec),
        silent("RefCount", signed(view.refcount)),
        silent("UsedBy", texts(&view.used_by)),
        value("Required", view.required),
        value("LastUnloadTimestamp", view.last_unload_usec),
        value("LastUnloadBy", view.last_unload_by.as_str()),
    ]
}

/// Severity, code and sentence of each.
fn findings(concerns: &[Concern]) -> Vec<(&'static str, &'static str, &str)> {
    concerns.iter().map(|it| (it.severity.as_str(), it.code.as_str(), it.why.as_str())).collect()
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A number that may be absent; larger ones than the type has do not exist in the kernel.
fn signed(number: Option<u32>) -> i32 {
    number.map_or(-1, |number| i32::try_from(number).unwrap_or(i32::MAX))
}

fn named(comm: &str, unit: &str) -> String {
    if unit.is_empty() { comm.to_owned() } else { format!("{comm} ({unit})") }
}
