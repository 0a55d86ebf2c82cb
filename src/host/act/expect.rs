//! What is looked at again right before a write: the world may have moved since the plan.
//!
//! A check that fails is the step's outcome, so checks return it as the error.

use std::collections::BTreeSet;

use super::kernel::{Kernel, refusal};
use crate::host::root::is_absent;
use crate::model::guard::carries;
use crate::model::pci::{Address, Driver};
use crate::model::plan::{Guard, Outcome, Target};
use crate::model::snapshot::{Fact, Look};
use crate::model::time::Time;

/// The kernel and the deadline, as every step needs them.
pub(super) struct Expect<'a> {
    pub kernel: &'a dyn Kernel,
    pub deadline: Time,
}

/// What goes on, or the outcome that ends the step.
pub(super) type Checked<T> = Result<T, Outcome>;

pub(super) fn stale(why: impl Into<String>) -> Outcome {
    Outcome::Stale { why: why.into() }
}

/// The directory of a function.
pub(super) fn dir(address: Address) -> String {
    format!("/sys/bus/pci/devices/{address}")
}

/// The name of a driver link, for a sentence.
pub(super) fn called(driver: Option<&str>) -> String {
    driver.map_or_else(|| "without a driver".to_owned(), |name| format!("on {name}"))
}

impl Expect<'_> {
    /// The deadline is not past. Asked again before each write, because a check may have blocked.
    pub fn in_time(&self) -> Checked<()> {
        if self.kernel.now() > self.deadline { Err(Outcome::Stalled) } else { Ok(()) }
    }

    /// The very device that the plan saw still sits at the address.
    pub fn same_object(&self, target: Target) -> Checked<()> {
        let path = dir(target.address);
        match self.kernel.root().inode(&path) {
            Ok(object) if object == target.object => Ok(()),
            Ok(_) => Err(stale(format!("{}: another device object sits here now", target.address))),
            Err(e) => Err(stale(refusal("stat", &path, &e))),
        }
    }

    /// The driver link: who has the device now.
    pub fn driver(&self, address: Address) -> Checked<Option<String>> {
        let path = format!("{}/driver", dir(address));
        match self.kernel.root().link_name(&path) {
            Ok(name) => Ok(Some(name)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(stale(refusal("read", &path, &e))),
        }
    }

    /// The driver link is `driver`.
    pub fn on(&self, address: Address, driver: Option<&Driver>) -> Checked<()> {
        let (found, wanted) = (self.driver(address)?, driver.map(Driver::as_str));
        if found.as_deref() == wanted {
            return Ok(());
        }
        Err(stale(format!("{address}: is {}, was {}", called(found.as_deref()), called(wanted))))
    }

    /// `driver_override`. On 6.1 this blocks while the device is being unbound.
    pub fn pin(&self, address: Address) -> Checked<Option<String>> {
        let path = format!("{}/driver_override", dir(address));
        match self.kernel.root().read_text(&path) {
            Ok(text) => {
                Ok(Some(text.trim_end_matches('\n').to_owned()).filter(|pin| pin != "(null)" && !pin.is_empty()))
            }
            Err(e) => Err(stale(refusal("read", &path, &e))),
        }
    }

    /// A device without a driver link is really without a driver: while an unbind waits for whoever
    /// has it open, the link is gone and `uevent` still says `DRIVER=`. A bind written then blocks
    /// too, and re-binds what was being released as soon as the holder leaves (6.1, 6.12). On 6.1
    /// reading `uevent` blocks instead; by the time it returns, the deadline tells.
    pub fn not_being_released(&self, address: Address) -> Checked<()> {
        let path = format!("{}/uevent", dir(address));
        let text = self.kernel.root().read_text(&path).map_err(|e| stale(refusal("read", &path, &e)))?;
        match text.lines().find_map(|line| line.strip_prefix("DRIVER=")) {
            Some(driver) if !driver.is_empty() => Err(stale(format!("{address}: is being released from {driver}"))),
            _ => Ok(()),
        }
    }
}

/// No program works on a device without a driver, by this second look.
pub(super) fn idle(look: &Look, target: Target) -> Checked<()> {
    let address = target.address;
    let held = |guard: Guard, why: &str| Err(stale(format!("{address}: {guard}: {why}")));
    match &look.raw {
        _ if look.object != target.object => Err(stale(format!("{address}: another device object sits here now"))),
        Fact::Unreadable(why) => held(Guard::Unreadable, &format!("files: {why}")),
        Fact::Is(holders) => holders.first().map_or(Ok(()), |holder| held(Guard::InUse, &holder.to_string())),
        Fact::Absent => Ok(()),
    }
}

/// Nobody uses the device by this second look, but for what `allow` lifts.
pub(super) fn unused(look: &Look, target: Target, driver: &Driver, allow: &BTreeSet<Guard>) -> Checked<()> {
    let address = target.address;
    let held = |guard: Guard, why: &str| Err(stale(format!("{address}: {guard}: {why}")));
    if look.object != target.object {
        return Err(stale(format!("{address}: another device object sits here now")));
    }
    // What nobody knows is never lifted: an empty answer for lack of rights would pass for "no".
    let facts = [
        ("holders", look.holders.unreadable()),
        ("files", look.raw.unreadable()),
        ("network", look.network.unreadable()),
        ("storage", look.storage.unreadable()),
        ("VFs", look.vfs.unreadable()),
        ("mediated devices", look.mediated.unreadable()),
        ("driver_override", look.pin.unreadable()),
        ("uevent", look.uevent_driver.unreadable()),
    ];
    if let Some((what, Some(why))) = facts.into_iter().find(|(_, why)| why.is_some()) {
        return held(Guard::Unreadable, &format!("{what}: {why}"));
    }
    if look.uevent_driver.is() != Some(driver) {
        return held(Guard::BeingReleased, &format!("uevent no longer names {driver}"));
    }
    if let Some(holder) = [&look.holders, &look.raw].into_iter().filter_map(Fact::is).flatten().next() {
        return held(Guard::InUse, &holder.to_string());
    }
    if let Fact::Is(vfs @ 1..) = look.vfs {
        return held(Guard::SriovPfWithVfs, &format!("{vfs} VFs would be destroyed"));
    }
    if let Some(devices) = look.mediated.is().filter(|devices| !devices.is_empty()) {
        return held(Guard::MediatedDevices, &carries(devices));
    }
    for (guard, sentences) in [(Guard::CarriesRoute, &look.network), (Guard::MountedDisk, &look.storage)] {
        if let Some(first) = sentences.is().and_then(|all| all.first()).filter(|_| !allow.contains(&guard)) {
            return held(guard, first);
        }
    }
    Ok(())
}
