//! Pin, unbind, probe: how one device changes its driver without touching a sibling.
//!
//! The plan pins before it unbinds: once `driver_override` names a driver, no other one matches the
//! device, so nothing grabs it between `unbind` and `drivers_probe`. Never `new_id`: it captures
//! every unbound device of that id.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::errno::Errno;

use super::errand::SecondLook;
use super::expect::{Checked, Expect, called, dir, stale, unused};
use super::kernel::refusal;
use crate::model::pci::{Address, Driver};
use crate::model::plan::{Guard, Outcome, Target};

/// How long a bound device's node may take to appear: devtmpfs makes it within the bind, but does
/// so in a thread of its own.
const NODE_WAIT: Duration = Duration::from_secs(1);
const NODE_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn refused(path: &str, error: &std::io::Error) -> Outcome {
    Outcome::Refused { why: refusal("write", path, error) }
}

/// Writes `driver_override`.
pub(super) fn pin(expect: &Expect<'_>, target: Target, driver: Option<&Driver>, pin: &Driver) -> Checked<Outcome> {
    let address = target.address;
    // sysfs cuts at a newline and takes anything else; only a plain name is ever written.
    if !pin.is_plain() {
        return Err(Outcome::Refused { why: format!("write driver_override of {address}: `{pin}` is no plain name") });
    }
    expect.same_object(target)?;
    expect.on(address, driver)?;
    if driver.is_none() {
        // The write takes the device's lock, which an unbind under way holds.
        expect.not_being_released(address)?;
    }
    if expect.pin(address)?.as_deref() == Some(pin.as_str()) {
        return Ok(Outcome::AlreadySo);
    }
    // The two reads may have blocked (6.1); what was checked before them is old.
    expect.same_object(target)?;
    expect.on(address, driver)?;
    expect.in_time()?;
    let path = format!("{}/driver_override", dir(address));
    expect.kernel.write(&path, pin.as_str()).map_err(|e| refused(&path, &e))?;
    match expect.pin(address).map_err(unread)? {
        Some(found) if found == pin.as_str() => Ok(Outcome::Changed),
        found => Err(failed(format!("{path} reads {} after {pin} was written", found.unwrap_or("(null)".to_owned())))),
    }
}

/// Takes the device from its driver.
pub(super) fn unbind(
    expect: &Expect<'_>,
    target: Target,
    driver: &Driver,
    allow: &BTreeSet<Guard>,
    second_look: SecondLook<'_>,
) -> Checked<Outcome> {
    let address = target.address;
    expect.same_object(target)?;
    expect.on(address, Some(driver))?;
    unused(&second_look(expect.kernel.root(), address), target, driver, allow)?;
    // Looking for holders takes a tenth of a second and more; the rest is asked again after it, so
    // that the only race left is with somebody who opens the device within these few reads.
    expect.same_object(target)?;
    expect.on(address, Some(driver))?;
    expect.in_time()?;
    let path = format!("/sys/bus/pci/drivers/{driver}/unbind");
    expect.kernel.write(&path, &address.to_string()).map_err(|e| refused(&path, &e))?;
    match expect.driver(address).map_err(unread)? {
        None => Ok(Outcome::Changed),
        found => Err(failed(format!("{address}: is {} after it was unbound from {driver}", called(found.as_deref())))),
    }
}

/// Lets the driver that the device is pinned to take it.
pub(super) fn probe(expect: &Expect<'_>, target: Target, driver: &Driver) -> Checked<Outcome> {
    let address = target.address;
    let bound = |found: &Option<String>| found.as_deref() == Some(driver.as_str());
    expect.same_object(target)?;
    if bound(&expect.driver(address)?) {
        return Ok(Outcome::AlreadySo);
    }
    expect.on(address, None)?;
    expect.not_being_released(address)?;
    let pin = expect.pin(address)?;
    if !bound(&pin) {
        // Probed now, any driver that matches the ids would take it.
        let pin = pin.unwrap_or("(null)".to_owned());
        return Err(stale(format!("{address}: driver_override is {pin}, was {driver}")));
    }
    expect.same_object(target)?;
    expect.on(address, None)?;
    expect.in_time()?;
    // Its answer says little: success also when nothing matched or the probe failed (6.1, 6.12).
    let asked = expect.kernel.write("/sys/bus/pci/drivers_probe", &address.to_string());
    let mut found = expect.driver(address).map_err(unread)?;
    if found.is_none() {
        bind_outright(expect, target, driver)?;
        found = expect.driver(address).map_err(unread)?;
    }
    if !bound(&found) {
        let asked = asked.map_or_else(|e| format!("; {}", refusal("write", "drivers_probe", &e)), |()| String::new());
        return Err(failed(format!(
            "{address}: is {} after it was probed for {driver}{asked}",
            called(found.as_deref())
        )));
    }
    has_node(expect, address)
}

/// Writes to the driver's `bind`, which alone tells why it does not take the device.
fn bind_outright(expect: &Expect<'_>, target: Target, driver: &Driver) -> Checked<()> {
    expect.same_object(target)?;
    expect.in_time()?;
    let path = format!("/sys/bus/pci/drivers/{driver}/bind");
    expect.kernel.write(&path, &target.address.to_string()).map_err(|e| {
        let hint = match e.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => "there is no such driver: its module is not loaded",
            Some(Errno::ENODEV) => "the driver does not take this device",
            Some(Errno::EBUSY) => "it is bound already, is a PF with VFs, or its group is in use",
            Some(Errno::EINVAL) => "it has no IOMMU group, is on vfio's denylist, or is a bridge",
            Some(Errno::EAGAIN) => "probe deferred: the IOMMU's driver is not there yet",
            _ => return refused(&path, &e),
        };
        Outcome::Refused { why: format!("{}: {hint}", refusal("write", &path, &e)) }
    })
}

/// A bound device can be opened: it has a VFIO device, or its group a node.
fn has_node(expect: &Expect<'_>, address: Address) -> Checked<Outcome> {
    let root = expect.kernel.root();
    let group = root.link_name(&format!("{}/iommu_group", dir(address))).ok();
    let there = || {
        // `vfio-dev` came with 6.1's time; before that only the group's node tells.
        root.list(&format!("{}/vfio-dev", dir(address))).is_ok_and(|names| !names.is_empty())
            || group.as_deref().is_some_and(|n| {
                [format!("/dev/vfio/{n}"), format!("/dev/vfio/noiommu-{n}")]
                    .iter()
                    .any(|node| root.exists(node).unwrap_or(false))
            })
    };
    let until = expect.kernel.now() + NODE_WAIT;
    loop {
        if there() {
            return Ok(Outcome::Changed);
        }
        if expect.kernel.now() >= until {
            return Err(failed(format!("{address}: is bound, but no VFIO node appeared")));
        }
        expect.kernel.pause(NODE_PAUSE);
    }
}

pub(super) fn failed(why: String) -> Outcome {
    Outcome::Failed { why }
}

/// A read-back that failed: something was written, so `Stale` would be a lie.
pub(super) fn unread(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Stale { why } => Outcome::Failed { why },
        other => other,
    }
}
