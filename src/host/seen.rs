//! What one pass has looked at more closely, over all its looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::port::{Closer, Found};
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Look, Snapshot};

/// Everything that was asked for and found in one pass. Nothing is asked for twice, so that a pass
/// comes to an end also where looks show nothing.
#[derive(Debug, Default)]
pub struct Seen {
    /// Functions that were looked at, or were to be.
    pub asked: BTreeSet<Address>,
    /// Functions whose serial number was read, or was to be.
    pub serials: BTreeSet<Address>,
    /// What a load would bind, once that was looked for.
    pub pinned: Option<Fact<BTreeMap<Address, Driver>>>,
    looks: BTreeMap<Address, Arc<Look>>,
    /// Functions that nothing came back for, and why. A reader that died is as good as one that
    /// could read nothing.
    silent: BTreeMap<Address, String>,
}

impl Seen {
    /// Takes in looks of earlier passes; none of these is asked for again in this one.
    pub fn recall(&mut self, looks: &BTreeMap<Address, Arc<Look>>, pinned: Option<&Fact<BTreeMap<Address, Driver>>>) {
        self.asked.extend(looks.keys().copied());
        self.looks.extend(looks.iter().map(|(address, look)| (*address, Arc::clone(look))));
        self.pinned = pinned.cloned();
    }

    /// Takes in a look.
    pub fn add(&mut self, closer: Closer, found: Found) {
        let silent = closer.looks.iter().filter(|address| !found.looks.contains_key(address));
        let why = found.pinned.unreadable().unwrap_or("it was not answered").to_owned();
        self.silent.extend(silent.map(|address| (*address, why.clone())));
        self.asked.extend(closer.looks);
        self.serials.extend(closer.serials);
        if closer.pinned {
            self.pinned = Some(found.pinned);
        }
        self.looks.extend(found.looks.into_iter().map(|(address, look)| (address, Arc::new(look))));
    }

    /// Whether all that was asked for was answered.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.silent.is_empty() && self.pinned.as_ref().is_none_or(|pinned| pinned.unreadable().is_none())
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
        for (address, why) in &self.silent {
            if let Some(function) = snapshot.functions.get_mut(address) {
                function.look = Some(Arc::new(blind(function.card.object, why)));
            }
        }
    }
}

/// A look that could read nothing.
fn blind(object: u64, why: &str) -> Look {
    fn unread<T>(why: &str) -> Fact<T> {
        Fact::Unreadable(format!("closer look: {why}"))
    }
    Look {
        object,
        pin: unread(why),
        uevent_driver: unread(why),
        holders: unread(why),
        network: unread(why),
        storage: unread(why),
        vfs: unread(why),
        raw: unread(why),
        mediated: unread(why),
    }
}
