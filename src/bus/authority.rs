//! Who may do what: one table, and everything that is not in it is denied.

use super::refused::Refused;
use crate::names::action;

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it only reads.
    Open,
    /// That polkit allows this action.
    Action(&'static str),
}

const MANAGER: &str = "org.vfiod1.Manager";
const ENTRY: &str = "org.vfiod1.Entry";
const DEVICE: &str = "org.vfiod1.Device";
const MODULE: &str = "org.vfiod1.Module";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Interface, method, what it needs.
pub const TABLE: [(&str, &str, Access); 26] = [
    (MANAGER, "Pass", Access::Action(action::REPAIR)),
    (MANAGER, "Plan", Access::Open),
    (MANAGER, "Check", Access::Open),
    (MANAGER, "Repair", Access::Action(action::REPAIR)),
    (MANAGER, "LoadModules", Access::Action(action::REPAIR)),
    (MANAGER, "Hold", Access::Action(action::HOLD)),
    (MANAGER, "Inhibit", Access::Action(action::HOLD)),
    (MANAGER, "Unhold", Access::Action(action::HOLD)),
    (MANAGER, "ResetFailed", Access::Action(action::REPAIR)),
    (MANAGER, "Reload", Access::Action(action::RELOAD)),
    (MANAGER, "Status", Access::Open),
    (MANAGER, "History", Access::Open),
    (ENTRY, "Repair", Access::Action(action::REPAIR)),
    (ENTRY, "Release", Access::Action(action::RELEASE)),
    (ENTRY, "Adopt", Access::Action(action::RELEASE)),
    (DEVICE, "Repair", Access::Action(action::REPAIR)),
    (DEVICE, "Release", Access::Action(action::RELEASE)),
    (DEVICE, "Adopt", Access::Action(action::RELEASE)),
    (DEVICE, "Check", Access::Open),
    (MODULE, "Load", Access::Action(action::REPAIR)),
    (PROPERTIES, "Get", Access::Open),
    (PROPERTIES, "GetAll", Access::Open),
    // Answers that every property is read-only.
    (PROPERTIES, "Set", Access::Open),
    ("org.freedesktop.DBus.Introspectable", "Introspect", Access::Open),
    ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", Access::Open),
    ("org.freedesktop.DBus.Peer", "Ping", Access::Open),
];

/// What a method needs.
///
/// # Errors
/// It is not in [`TABLE`], so nobody may call it.
pub fn access(interface: &str, method: &str) -> Result<Access, Refused> {
    let row = TABLE.iter().find(|(i, m, _)| *i == interface && *m == method);
    row.map(|(_, _, access)| *access).ok_or_else(|| {
        let known = TABLE.iter().any(|(i, _, _)| *i == interface) || interface == "org.vfiod1.Group";
        match known {
            true => Refused::common("UnknownMethod", format!("{interface} has no method {method}")),
            false => Refused::common("UnknownInterface", format!("there is no interface {interface}")),
        }
    })
}
