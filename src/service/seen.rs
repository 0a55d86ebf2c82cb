//! What one pass has looked at more closely, over all its looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::host::port::{Closer, Found};
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Look, Snapshot};

/// Everything that was asked for and found in one pass. Nothing is asked for twice, so that a pass
/// comes to an end also where looks show nothing.
#[derive(Debug, Default)]
pub struct Seen {
    /// Functions that were looked at, or were to be.
    pub asked: BTreeSet<Address>,
    /// What a load would bind, once that was looked for.
    pub pinned: Option<Fact<BTreeMap<Address, Driver>>>,
    looks: BTreeMap<Address, Arc<Look>>,
}

impl Seen {
    /// Takes in a look.
    pub fn add(&mut self, closer: Closer, found: Found) {
        self.asked.extend(closer.looks);
        if closer.pinned {
            self.pinned = Some(found.pinned);
        }
        self.looks.extend(found.looks.into_iter().map(|(address, look)| (address, Arc::new(look))));
    }

    /// Puts everything seen so far into a later snapshot.
    pub fn show(&self, snapshot: &mut Snapshot) {
        if let Some(pinned) = &self.pinned {
            snapshot.pinned.clone_from(pinned);
        }
        for (address, look) in &self.looks {
            if let Some(function) = snapshot.functions.get_mut(address) {
                function.look = Some(Arc::clone(look));
            }
        }
    }
}
