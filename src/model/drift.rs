//! How a declared device differs from what was declared.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::memory::Adopted;
use super::pci::Driver;
use super::snapshot::{Fact, Function, Snapshot};
use super::variant::Choice;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// It has no driver.
    Unbound,
    /// It is on another driver.
    WrongDriver(Driver),
    /// It is on the right driver, and `driver_override` no longer says so: after the next unbind
    /// nothing would bring it back. No event tells this; only reading does.
    Pin(Fact<Driver>),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::Unbound => f.write_str("it has no driver"),
            Drift::WrongDriver(driver) => write!(f, "it is on {driver}"),
            Drift::Pin(Fact::Is(other)) => write!(f, "its driver_override is {other}"),
            Drift::Pin(_) => f.write_str("its driver_override was cleared"),
        }
    }
}

/// The difference between what the kernel says and what is wanted; none when there is none, or
/// when what would tell it cannot be read (then the guards speak).
#[must_use]
pub fn between(snapshot: &Snapshot, function: &Function, wanted: &Choice, adopted: Option<&Adopted>) -> Option<Drift> {
    let adopted = adopted.filter(|adopted| adopted.object == function.card.object);
    match &function.driver {
        Fact::Unreadable(_) => None,
        Fact::Absent => Some(Drift::Unbound),
        Fact::Is(driver) => {
            let as_found = adopted.filter(|adopted| adopted.driver == *driver && snapshot.on_vfio(function));
            if !wanted.is(driver, &snapshot.drivers) && as_found.is_none() {
                return Some(Drift::WrongDriver(driver.clone()));
            }
            // A vendor's driver has it by its ids; no override keeps it there.
            if function.registered && !snapshot.is_vfio(driver) {
                return None;
            }
            match &function.pin {
                Fact::Unreadable(_) => None,
                Fact::Is(pin) if pin == driver => None,
                // Not read until now: this is how it was found.
                pin if as_found.is_some_and(|adopted| adopted.pin == *pin || adopted.pin.unreadable().is_some()) => {
                    None
                }
                pin => Some(Drift::Pin(pin.clone())),
            }
        }
    }
}
