//! What one snapshot means beside the configuration: which functions, and how they differ.

use std::collections::BTreeMap;

use super::Keeper;
use crate::model::drift::{self, Drift};
use crate::model::pci::{Address, Module};
use crate::model::resolve::{Resolution, resolve, wanted_driver};
use crate::model::snapshot::Snapshot;
use crate::model::variant::Choice;

/// One snapshot beside the configuration.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// What the entries mean on it.
    pub found: Resolution,
    /// How declared functions differ from what was declared.
    pub drifts: BTreeMap<Address, Drift>,
}

impl Pass<'_> {
    /// Whether a module is missing, without which its driver cannot take devices.
    #[must_use]
    pub fn lacks_module(&self, module: &Module) -> bool {
        !self.snapshot.serves(module)
    }
}

impl Keeper {
    /// Lays a snapshot beside the configuration.
    #[must_use]
    pub fn pass<'a>(&self, snapshot: &'a Snapshot) -> Pass<'a> {
        self.lay(snapshot, resolve(&self.desired, snapshot))
    }

    pub(super) fn lay<'a>(&self, snapshot: &'a Snapshot, mut found: Resolution) -> Pass<'a> {
        let mut drifts = BTreeMap::new();
        for (address, index) in &found.owner {
            // What a person has had given back is as it should be, wherever it is.
            if self.is_released(*index, *address) {
                found.released.insert(*address);
                continue;
            }
            let Some(function) = snapshot.functions.get(address) else { continue };
            let wanted = self.wanted(*index, *address, snapshot);
            let adopted = self.memory.adopted.get(address);
            if let Some(drift) = drift::between(snapshot, function, &wanted, adopted) {
                drifts.insert(*address, drift);
            }
        }
        Pass { snapshot, found, drifts }
    }

    /// The driver that an entry wants for a function.
    pub(super) fn wanted(&self, entry: usize, address: Address, snapshot: &Snapshot) -> Choice {
        match (self.desired.entries.get(entry), snapshot.functions.get(&address)) {
            (Some(entry), Some(function)) => wanted_driver(entry, function, snapshot.known()),
            _ => Choice::vfio_pci(),
        }
    }
}
