//! Devices that the kernel could not bring back after a fatal PCI Express error.
//!
//! Such a device stays bound and its node is still there (seen on 7.3); no file says what has become of
//! it. The kernel's event is all there is, so it is remembered for as long as this boot lasts.

use super::{Keeper, Pass};
use crate::model::concern::Concern;
use crate::model::memory::Unrecovered;
use crate::model::pci::Address;
use crate::model::preflight::Severity;
use crate::model::preflight::code::Code;
use crate::model::snapshot::{Fact, Snapshot};

/// What a person can do about one.
pub(super) const REMEDY: &str = "Stop its guest, then have it bound anew (vfiodctl release, then adopt), which resets it; where that does not help, power the machine off and on. The kernel's log says more (journalctl -k).";

impl Keeper {
    /// Takes note of what the kernel says of a function after an error: `failed` where it could not be
    /// brought back. What no snapshot shows is nobody's business.
    pub fn note_recovery(&mut self, snapshot: Option<&Snapshot>, address: Address, failed: bool) {
        let function = snapshot.and_then(|snapshot| snapshot.functions.get(&address));
        match function.filter(|_| failed) {
            Some(function) => {
                let (object, driver) = (function.card.object, function.driver.is().cloned());
                self.memory.unrecovered.insert(address, Unrecovered { object, driver });
            }
            None if !failed => drop(self.memory.unrecovered.remove(&address)),
            None => {}
        }
    }

    /// Forgets it of another device object, and of one that is on another driver, or none, by now: it is
    /// reset when it is opened next, and has another chance.
    pub(super) fn learn_recoveries(&mut self, snapshot: &Snapshot) {
        self.memory.unrecovered.retain(|address, lost| {
            snapshot.functions.get(address).is_none_or(|function| {
                let stays = match &function.driver {
                    Fact::Unreadable(_) => true,
                    driver => driver.is() == lost.driver.as_ref(),
                };
                function.card.object == lost.object && stays
            })
        });
    }

    /// What is to be said of a function that was not brought back.
    pub(super) fn unrecovered(&self, pass: &Pass<'_>, address: Address) -> Option<Concern> {
        let object = pass.snapshot.functions.get(&address)?.card.object;
        let lost = self.memory.unrecovered.get(&address).filter(|lost| lost.object == object)?;
        let on = lost.driver.as_ref().map_or_else(String::new, |driver| format!(" It is still bound to {driver}."));
        let why = format!(
            "After a fatal PCI Express error the kernel could not bring it back (FAILED_RECOVERY): it does not work.{on}"
        );
        Some(Concern { severity: Severity::Blocker, code: Code::AerErrors, why })
    }
}
