//! Holds: a person or a program keeps vfiod from writing to something for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pci::{Address, Module};
use super::picture::{Clock, HoldView};
use super::target::Target;
use super::time::Time;

/// How many holds there may be: each is kept on disk and shown to everybody, and each lease takes one
/// of the descriptors that the unit allows (LimitNOFILE).
pub const MOST: usize = 1_024;

/// By how much a point in time differs when the clock has been set (microseconds): asked twice, the
/// clock and the time since boot are never quite the same distance apart.
const SET: u64 = 1_000_000;

/// One hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What is held; one VF of an entry by its address.
    pub target: Target,
    /// Who asked for it, in the caller's words.
    pub who: String,
    /// Why, in the caller's words.
    pub why: String,
    /// The owner's user.
    pub uid: u32,
    /// The owner's process.
    pub pid: u32,
    /// What ends it.
    pub until: Until,
    /// For how long it was asked, in microseconds; 0: not by time, or not known (0.1.0 did not store it).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length_usec: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What ends a hold, besides being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// A point in time, in realtime microseconds. It counts over reboots; within a boot the time since
    /// boot does ([`super::memory::Memory::ends`]), and this is what that comes to by the clock.
    Time(u64),
    /// The owner of this unique name leaves the bus.
    Owner(String),
    /// The last descriptor of its lease is closed.
    Lease,
}

/// The holds in force, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holds(pub BTreeMap<u64, Hold>);

impl Holds {
    /// The hold that keeps a function of an entry from being written to, if one does. `unit` is what
    /// the function is counted for: the entry, or one VF of it.
    #[must_use]
    pub fn on_device(&self, address: Address, entry: Option<&str>, unit: Option<&str>) -> Option<(u64, &Hold)> {
        self.find(|target| match target {
            Target::All => true,
            Target::Device(held) => *held == address,
            Target::Entry(name) => entry == Some(name) || unit == Some(name),
            Target::Module(_) => false,
        })
    }

    /// The hold that keeps a module from being loaded, if one does.
    #[must_use]
    pub fn on_module(&self, module: &Module) -> Option<(u64, &Hold)> {
        self.find(|target| match target {
            Target::All => true,
            Target::Module(held) => held == module,
            Target::Device(_) | Target::Entry(_) => false,
        })
    }

    fn find(&self, fits: impl Fn(&Target) -> bool) -> Option<(u64, &Hold)> {
        self.0.iter().find(|(_, hold)| fits(&hold.target)).map(|(id, hold)| (*id, hold))
    }

    /// Takes out those that end by what `over` says, and answers with them.
    pub fn end(&mut self, over: impl Fn(u64, &Hold) -> bool) -> Vec<(u64, Hold)> {
        let ids: Vec<u64> = self.0.iter().filter(|(id, hold)| over(**id, hold)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.0.remove(&id)?))).collect()
    }

    /// When each that ends by time does, in the time of this boot, given what is known of that. One that
    /// is new here, or from another boot, is measured by the clock, but never longer than it was asked
    /// for: the clock may be behind, as where it has no battery. Where the clock has been set since, the
    /// point in time that another boot goes by is corrected.
    #[must_use]
    pub fn measure(&mut self, known: &BTreeMap<u64, Time>, now: Time, clock: Clock) -> BTreeMap<u64, Time> {
        let mut ends = BTreeMap::new();
        for (id, hold) in &mut self.0 {
            let Until::Time(until) = &mut hold.until else { continue };
            let left = until.saturating_sub(clock.realtime_usec(now));
            let left = if hold.length_usec == 0 { left } else { left.min(hold.length_usec) };
            let end = known.get(id).copied().unwrap_or(now + Duration::from_micros(left));
            let by_the_clock = clock.realtime_usec(end);
            if by_the_clock.abs_diff(*until) > SET {
                *until = by_the_clock;
            }
            ends.insert(*id, end);
        }
        ends
    }
}

impl Hold {
    /// When it ends by time, in realtime microseconds.
    #[must_use]
    pub fn until_usec(&self) -> Option<u64> {
        match self.until {
            Until::Time(usec) => Some(usec),
            Until::Owner(_) | Until::Lease => None,
        }
    }

    /// Why something is held, in a sentence.
    #[must_use]
    pub fn reason(&self, id: u64) -> String {
        format!("{} holds {}: {} (hold {id})", self.who, self.target, self.why)
    }

    /// As the public sees it.
    #[must_use]
    pub fn view(&self, id: u64) -> HoldView {
        HoldView {
            id,
            target: self.target.to_string(),
            who: self.who.clone(),
            why: self.why.clone(),
            until_usec: self.until_usec().unwrap_or(0),
            uid: self.uid,
            pid: self.pid,
        }
    }
}
