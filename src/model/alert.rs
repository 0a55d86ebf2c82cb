//! Alerts: raised once for what they are about, however often vfiod is started meanwhile.

use std::collections::BTreeSet;

use super::event::{Event, Kind, Level};
use super::plan::About;
use super::state::State;
use super::status::Status;

/// What somebody was alerted to, and still stands.
pub type Alerted = BTreeSet<(Kind, About)>;

/// Lowers what an earlier run has raised the alert for, where these are the events of a first picture;
/// and remembers in `alerted` what was alerted to and still stands.
pub fn raise_once(first: bool, events: &mut [Event], status: &Status, alerted: &mut Alerted) {
    for event in events.iter_mut().filter(|event| event.level == Level::Alert) {
        let anew = alerted.insert((event.kind, event.about.clone()));
        if first && !anew {
            event.level = Level::Warning;
        }
    }
    let standing = alarming(status);
    alerted.retain(|alert| standing.contains(alert));
}

/// What stands now and is worth an alert when it begins.
fn alarming(status: &Status) -> Alerted {
    let modules = status.modules.iter().flat_map(|(module, it)| {
        let kinds = [(Kind::Fighting, it.fighting), (Kind::Stuck, it.stuck), (Kind::ModuleBlocked, it.blocked)];
        kinds.into_iter().filter(|(_, so)| *so).map(|(kind, _)| (kind, About::Module(module.clone())))
    });
    let devices = status.devices.iter().filter(|(_, device)| device.standing.state == State::Stuck);
    let entries = status.entries.iter().filter(|(_, entry)| entry.state == State::Fighting);
    modules
        .chain(devices.map(|(address, _)| (Kind::Stuck, About::Device(*address))))
        .chain(entries.map(|(name, _)| (Kind::Fighting, About::Entry(name.clone()))))
        .collect()
}
