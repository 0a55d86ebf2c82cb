//! Transitions: what is told, once, when something has changed.
//!
//! Made by comparing two pictures, so that nothing is told that is not so, and nothing twice.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::{Culprit, How};
use super::keeper::GIVEN_BACK;
use super::module::ModuleState;
use super::pci::Address;
use super::plan::About;
use super::printable::clean;
use super::state::State;
use super::status::{DeviceStatus, ModuleStatus, Standing, Status};
use super::time::Time;

/// The kinds of transitions; each has its MESSAGE_ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A required module went away.
    ModuleLost,
    /// A required module is there again.
    ModuleRestored,
    /// A required module cannot be loaded, and trying again cannot help.
    ModuleBlocked,
    /// A declared device is not as declared.
    Drifted,
    /// A declared device is as declared again.
    Repaired,
    /// A repair did not help.
    RepairFailed,
    /// Something is left alone on purpose.
    Held,
    /// A declared device cannot be had.
    Blocked,
    /// A declared device is absent, another, or not the only one.
    NotFound,
    /// A virtual machine has taken or left a device.
    Assigned,
    /// The breaker has opened.
    Fighting,
    /// The breaker has closed.
    FightOver,
    /// A write does not return.
    Stuck,
    /// It has returned.
    Unstuck,
    /// A person has had a device given back.
    Released,
    /// That has been done: the device is the host's.
    GivenBack,
    /// A person has ended that: the device is kept again.
    Adopted,
    /// A required module has been loading for longer than a repair may take.
    Loading,
    /// It is not loading any more.
    LoadingOver,
    /// What a check warns of has changed, about a declared device or the host.
    Verdict,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name that JSON has.
        self.serialize(f)
    }
}

/// How loud a transition is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Somebody should look now: priority `err`.
    Alert,
    /// Not as it should be: priority `warning`.
    Warning,
    /// For the record: priority `notice`.
    Notice,
}

/// One transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its kind.
    pub kind: Kind,
    /// What it is about.
    pub about: About,
    /// The entry that declares it, if one does.
    pub entry: Option<String>,
    /// Its group, if it has one.
    pub group: Option<u32>,
    /// The word for how it stood; empty when this is the first picture.
    pub old: String,
    /// The word for how it stands.
    pub new: String,
    /// Why, in a sentence.
    pub cause: String,
    /// How long it was lost, when that is over.
    pub latency: Option<Duration>,
    /// How loud.
    pub level: Level,
    /// Who did it, where that was witnessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Culprit>,
}

impl Event {
    /// Makes its words printable: it goes to the journal and the bus, and a process calls itself what
    /// it likes.
    pub fn clean(&mut self) {
        let Event { old, new, cause, by, entry, .. } = self;
        [old, new, cause].into_iter().chain(entry).for_each(clean);
        if let Some(by) = by {
            by.clean();
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.about)?;
        if let (About::Device(_), Some(entry)) = (&self.about, &self.entry) {
            write!(f, " ({entry})")?;
        }
        match self.old.is_empty() || self.old == self.new {
            true => write!(f, ": {}", self.new)?,
            false => write!(f, ": {} -> {}", self.old, self.new)?,
        }
        if !self.cause.is_empty() {
            write!(f, ": {}", self.cause)?;
        }
        match self.latency {
            Some(latency) => write!(f, ", after {:.3} s", latency.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// The transitions from one picture to the next. Without an old one: all that is not well.
#[must_use]
pub fn between(old: Option<&Status>, new: &Status, now: Time) -> Vec<Event> {
    let mut events = Vec::new();
    for (module, status) in &new.modules {
        let before = old.and_then(|old| old.modules.get(module));
        module_events(&About::Module(module.clone()), before, status, now, &mut events);
    }
    let falling = |address, status| old.is_some_and(|old| is_falling(old, new, address, status));
    for (address, status) in new.devices.iter().filter(|(address, status)| !falling(**address, status)) {
        let before = old.and_then(|old| old.devices.get(address)).map(|before| &before.standing);
        let was = before.or_else(|| old.and_then(|old| old.entries.get(&status.entry)));
        if was.is_some_and(|was| given_back(was, &status.standing)) {
            events.push(device(Kind::GivenBack, Level::Notice, About::Device(*address), was, status, now));
            continue;
        }
        if was.is_some_and(|was| was.state == status.standing.state && !blocked_anew(was, &status.standing)) {
            continue;
        }
        let by_module = fights_by_module(new, status);
        let from = was.map(|was| was.state).filter(|state| *state != status.standing.state);
        if let Some((kind, level)) = device_event(from, status.standing.state, by_module) {
            events.push(device(kind, level, About::Device(*address), was, status, now));
        }
    }
    entry_events(old, new, &mut events);
    events
}

/// What has gone from an entry that goes on with the rest, as a function of a slot does: the entry's
/// own state says nothing of it. `there` tells what is still on the bus.
#[must_use]
pub fn gone(old: &Status, new: &Status, there: impl Fn(Address) -> bool) -> Vec<Event> {
    let went = old.devices.iter().filter(|(address, device)| {
        let entry = new.entries.get(&device.entry).map(|entry| entry.state);
        let goes_on = !matches!(entry, None | Some(State::Missing | State::Ambiguous | State::Mismatch));
        goes_on && device.standing.state != State::Released && !new.devices.contains_key(address) && !there(**address)
    });
    let event = |(address, device): (&Address, &DeviceStatus)| Event {
        kind: Kind::NotFound,
        about: About::Device(*address),
        entry: Some(device.entry.clone()),
        group: device.group,
        old: device.standing.state.to_string(),
        new: State::Missing.to_string(),
        cause: "it is not on the bus any more; its entry goes on with the others".to_owned(),
        latency: None,
        level: Level::Warning,
        by: None,
    };
    went.map(event).collect()
}

fn entry_events(old: Option<&Status>, new: &Status, events: &mut Vec<Event>) {
    let before = |name: &String| old.and_then(|old| old.entries.get(name));
    let changed = |name: &String, status: &Standing| before(name).is_none_or(|before| before.state != status.state);
    if !new.entries.iter().any(|(name, status)| changed(name, status)) {
        return;
    }
    // Once for all entries: asking each for its devices takes as long as entries times devices.
    let with_device: BTreeSet<&String> = new.devices.values().map(|device| &device.entry).collect();
    // The end of a module's fight is told by the picture that still has it.
    let fought: BTreeSet<&String> = [Some(new), old]
        .into_iter()
        .flatten()
        .flat_map(|picture| picture.devices.values().filter(|device| fights_by_module(picture, device)))
        .map(|device| &device.entry)
        .collect();
    for (name, status) in new.entries.iter().filter(|(name, status)| changed(name, status)) {
        let before = before(name);
        let was = before.map(|before| before.state);
        let alone = !with_device.contains(name);
        if let Some((kind, level)) = entry_event(was, status.state, fought.contains(name), alone) {
            events.push(Event {
                kind,
                about: About::Entry(name.clone()),
                entry: Some(name.clone()),
                group: None,
                old: before.map(|before| before.state.to_string()).unwrap_or_default(),
                new: status.state.to_string(),
                cause: status.reason.clone(),
                latency: None,
                level,
                by: None,
            });
        }
    }
}

/// The picture that the next one is laid beside, where that is not `new` as it is: what falls with a
/// module on its way out is told once it is known who takes that out, and stays until then as it was.
#[must_use]
pub fn told(old: Option<&Status>, new: &Status) -> Option<Status> {
    let old = old.filter(|_| new.modules.values().any(|module| module.leaving))?;
    let mut told = new.clone();
    for (name, module) in told.modules.iter_mut().filter(|(_, module)| module.leaving) {
        old.modules.get(name).into_iter().for_each(|before| module.clone_from(before));
    }
    for (address, device) in told.devices.iter_mut().filter(|(address, device)| is_falling(old, new, **address, device))
    {
        old.devices.get(address).into_iter().for_each(|before| device.clone_from(before));
    }
    Some(told)
}

/// Whether a device that was well has lost its driver to a module on its way out.
fn is_falling(old: &Status, new: &Status, address: Address, device: &DeviceStatus) -> bool {
    let was_well = || old.devices.get(&address).is_some_and(|before| before.standing.state.is_good());
    let leaving = || new.modules.get(&device.wanted_module()).is_some_and(|module| module.leaving);
    device.driver.is_none() && device.standing.lost.is_some() && leaving() && was_well()
}

/// Whether a release that was told has come about since.
fn given_back(was: &Standing, now: &Standing) -> bool {
    let both_released = [was, now].iter().all(|standing| standing.state == State::Released);
    both_released && now.reason.starts_with(GIVEN_BACK) && !was.reason.starts_with(GIVEN_BACK)
}

/// Whether a blocked device is blocked for something else now: by the finding's code, since the
/// evidence after it may change at any time.
fn blocked_anew(was: &Standing, now: &Standing) -> bool {
    let code = |standing: &Standing| standing.reason.split(':').next().unwrap_or_default().to_owned();
    now.state == State::Blocked && code(was) != code(now)
}

fn fights_by_module(picture: &Status, device: &DeviceStatus) -> bool {
    picture.modules.get(&device.wanted_module()).is_some_and(|module| module.fighting)
}

fn device(kind: Kind, level: Level, about: About, was: Option<&Standing>, status: &DeviceStatus, now: Time) -> Event {
    let over = status.standing.state.is_good() && kind != Kind::Assigned;
    let lost = was.and_then(|was| was.lost).filter(|_| over);
    let fall = status.last_cause.as_ref().filter(|fall| kind == Kind::Drifted && status.standing.lost == Some(fall.at));
    let unload = fall.and_then(|fall| match &fall.how {
        How::WithModule { unload, .. } => Some(unload),
        How::ByHand { .. } => None,
    });
    let cause = match (&status.driver, fall.zip(unload)) {
        (Some(driver), _) if over => format!("bound to {driver}"),
        (_, Some((fall, _))) => joined(&status.standing.reason, &fall.to_string()),
        _ => status.standing.reason.clone(),
    };
    Event {
        kind,
        about,
        entry: Some(status.entry.clone()),
        group: status.group,
        old: was.map(|was| was.state.to_string()).unwrap_or_default(),
        new: status.standing.state.to_string(),
        cause,
        latency: lost.map(|lost| now.since(lost)),
        level,
        by: unload.and_then(|unload| unload.by.culprit()).cloned(),
    }
}

fn joined(one: &str, other: &str) -> String {
    if one.is_empty() || other.is_empty() { format!("{one}{other}") } else { format!("{one}; {other}") }
}

/// What to tell of a device whose state has changed.
fn device_event(was: Option<State>, now: State, by_module: bool) -> Option<(Kind, Level)> {
    let was_bad = was.is_some_and(|was| !was.is_good());
    match now {
        State::Ready | State::Assigned if was == Some(State::Stuck) => Some((Kind::Unstuck, Level::Notice)),
        // Repaired by a silent probe, some time ago.
        State::Ready if was == Some(State::Fighting) => None,
        State::Ready | State::Assigned if was_bad && was != Some(State::Fighting) => {
            Some((Kind::Repaired, Level::Notice))
        }
        State::Ready if was == Some(State::Assigned) => Some((Kind::Assigned, Level::Notice)),
        State::Assigned => Some((Kind::Assigned, Level::Notice)),
        State::Ready => None,
        _ if was == Some(State::Stuck) => Some((Kind::Unstuck, Level::Notice)),
        State::Released => Some((Kind::Released, Level::Notice)),
        State::Unmanaged | State::Unknown => None,
        State::Drifted | State::Repairing if was == Some(State::Released) => Some((Kind::Adopted, Level::Notice)),
        State::Drifted | State::Repairing => {
            let told = matches!(was, Some(State::Drifted | State::Repairing | State::Failing | State::Fighting));
            (!told).then_some((Kind::Drifted, Level::Warning))
        }
        State::Failing => Some((Kind::RepairFailed, Level::Warning)),
        State::Held => Some((Kind::Held, Level::Warning)),
        State::Blocked => Some((Kind::Blocked, Level::Warning)),
        State::Stuck => Some((Kind::Stuck, Level::Alert)),
        // The alert is the entry's or the module's; here only the loss is told.
        State::Fighting => (by_module && was.is_some_and(State::is_good)).then_some((Kind::Drifted, Level::Warning)),
        State::Missing | State::Ambiguous | State::Mismatch => Some((Kind::NotFound, Level::Warning)),
    }
}

/// What to tell of an entry whose state has changed. It speaks for itself only where no device can:
/// what it declares is not to be had, or it is fought over.
fn entry_event(was: Option<State>, now: State, by_module: bool, alone: bool) -> Option<(Kind, Level)> {
    match now {
        State::Missing | State::Ambiguous | State::Mismatch => Some((Kind::NotFound, Level::Warning)),
        State::Held if alone => Some((Kind::Held, Level::Warning)),
        State::Fighting if !by_module => Some((Kind::Fighting, Level::Alert)),
        _ if was == Some(State::Fighting) && !by_module => Some((Kind::FightOver, Level::Notice)),
        _ => None,
    }
}

fn module_events(about: &About, before: Option<&ModuleStatus>, now: &ModuleStatus, time: Time, to: &mut Vec<Event>) {
    let was = before.map(|before| before.state);
    // One on its way out was not told as lost yet.
    let served = was.is_some_and(ModuleState::serves) || before.is_some_and(|before| before.leaving);
    let mut tell = |kind, level, latency| {
        let lost = matches!(kind, Kind::ModuleLost | Kind::Fighting) || kind == Kind::ModuleBlocked && served;
        let unload = now.last_unload.as_ref().filter(|_| lost && !now.state.serves());
        to.push(Event {
            kind,
            about: about.clone(),
            entry: None,
            group: None,
            old: before.map(|before| before.state.to_string()).unwrap_or_default(),
            new: now.state.to_string(),
            cause: joined(&unload.map(ToString::to_string).unwrap_or_default(), &now.reason),
            latency,
            level,
            by: unload.and_then(|unload| unload.by.culprit()).cloned(),
        });
    };
    let fought = before.is_some_and(|before| before.fighting);
    // While the module is being unloaded nobody knows yet by whom: the alert waits for that, and is raised once.
    if now.fighting && !fought && !now.leaving {
        tell(Kind::Fighting, Level::Alert, None);
    }
    if fought && !now.fighting {
        tell(Kind::FightOver, Level::Notice, None);
    }
    // While the breaker is open, a probe that changes nothing in the end is not told.
    let with_another = before.is_some_and(|before| before.fought_with.is_some());
    if fought && now.fighting || with_another && now.fought_with.is_some() {
        return;
    }
    let was_stuck = before.is_some_and(|before| before.stuck);
    match (was_stuck, now.stuck) {
        (false, true) => tell(Kind::Stuck, Level::Alert, None),
        (true, false) => tell(Kind::Unstuck, Level::Notice, None),
        _ => {}
    }
    match (before.is_some_and(|before| before.slow), now.slow) {
        (false, true) => tell(Kind::Loading, Level::Warning, None),
        (true, false) => tell(Kind::LoadingOver, Level::Notice, None),
        _ => {}
    }
    if now.state.serves() {
        if was.is_some() && !served {
            let lost = before.and_then(|before| before.lost);
            tell(Kind::ModuleRestored, Level::Notice, lost.map(|lost| time.since(lost)));
        }
        return;
    }
    if now.state == ModuleState::Unreadable {
        // Nobody knows whether it is lost.
        if was != Some(ModuleState::Unreadable) {
            tell(Kind::Held, Level::Warning, None);
        }
        return;
    }
    if now.leaving {
        return;
    }
    if now.blocked && before.is_none_or(|before| !before.blocked) {
        tell(Kind::ModuleBlocked, Level::Alert, None);
    } else if served && !now.fighting && now.fought_with.is_none() {
        tell(Kind::ModuleLost, Level::Warning, None);
    }
    if now.failures > 0 && !now.blocked && before.is_none_or(|before| before.failures == 0) {
        tell(Kind::RepairFailed, Level::Warning, None);
    }
}
