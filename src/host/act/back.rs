//! Unpin, give back: how a device returns to the host's driver.
//!
//! The override is cleared before the device is unbound: a crash in between leaves a device on VFIO
//! that nothing pins there, and not one that is pinned and without a driver.

use super::bind::{failed, refused, unread};
use super::expect::{Checked, Expect, called, dir, stale};
use crate::model::pci::{Address, Driver};
use crate::model::plan::{Outcome, Target};

/// Clears `driver_override`.
pub(super) fn unpin(expect: &Expect<'_>, target: Target, driver: Option<&Driver>) -> Checked<Outcome> {
    let address = target.address;
    expect.same_object(target)?;
    expect.on(address, driver)?;
    if driver.is_none() {
        // The write takes the device's lock, which an unbind under way holds.
        expect.not_being_released(address)?;
    }
    if expect.pin(address)?.is_none() {
        return Ok(Outcome::AlreadySo);
    }
    // The two reads may have blocked (6.1); what was checked before them is old.
    expect.same_object(target)?;
    expect.on(address, driver)?;
    expect.in_time()?;
    let path = format!("{}/driver_override", dir(address));
    // A zero-byte write never arrives; a newline clears it.
    expect.kernel.write(&path, "\n").map_err(|e| refused(&path, &e))?;
    match expect.pin(address).map_err(unread)? {
        None => Ok(Outcome::Changed),
        Some(found) => Err(failed(format!("{path} reads {found} after it was cleared"))),
    }
}

/// Lets the driver that the device had take it again.
pub(super) fn give(expect: &Expect<'_>, target: Target, driver: &Driver) -> Checked<Outcome> {
    let address = target.address;
    expect.same_object(target)?;
    if on(expect, address, driver)? {
        return Ok(Outcome::AlreadySo);
    }
    expect.on(address, None)?;
    expect.not_being_released(address)?;
    if let Some(pin) = expect.pin(address)? {
        return Err(stale(format!("{address}: driver_override is {pin}, was (null)")));
    }
    expect.same_object(target)?;
    expect.on(address, None)?;
    expect.in_time()?;
    // Its answer says little (6.1, 6.12); the link tells.
    let asked = expect.kernel.write("/sys/bus/pci/drivers_probe", &address.to_string());
    if on(expect, address, driver).map_err(unread)? {
        return Ok(Outcome::Changed);
    }
    asked.map_err(|e| refused("/sys/bus/pci/drivers_probe", &e))?;
    let found = expect.driver(address).map_err(unread)?;
    Err(failed(format!("{address}: is {} after it was given back to {driver}", called(found.as_deref()))))
}

fn on(expect: &Expect<'_>, address: Address, driver: &Driver) -> Checked<bool> {
    Ok(expect.driver(address)?.as_deref() == Some(driver.as_str()))
}
