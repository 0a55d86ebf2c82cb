//! Checks: what stands between devices and virtual machines, for whoever asks, and for the states of
//! what is declared.
//!
//! Everybody may ask, and each survey of the machine takes a child with all rights. So there is one
//! at a time, of everything, for all who wait; of that each gets what he asked about. Whoever comes
//! while one is under way waits for the next: what he asks about may have changed since it began.
//!
//! vfiod itself wants to know after its start, a reload, and whatever happened to a module or a
//! declared device; and then from time to time, since a card that has hung announces nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::notify::Notify;
use super::store::Store;
use super::tell::{Tell, Told};
use super::waiting::Reply;
use super::watch::Watch;
use crate::bus::call::{Answer, Refusal};
use crate::host::port::{Checking, Host};
use crate::model::concern::Concerns;
use crate::model::pci::Address;
use crate::model::preflight::Report;
use crate::model::time::Time;

/// What has just happened goes on happening: an unload is repaired, a card is reset.
const SETTLED: Duration = Duration::from_secs(5);
/// How far apart surveys for that are, and how long one waits where it never gets quiet.
const APART: Duration = Duration::from_secs(30);
/// When it is looked again whether something still blocks that only a survey sees.
const WHILE_BLOCKED: Duration = Duration::from_secs(60);
/// When it is looked again where nothing has happened.
const AT_REST: Duration = Duration::from_secs(60 * 60);

/// How long after the last survey the next one begins for anybody but root: whoever may ask is not to
/// have the whole machine looked through again and again.
const PACED: Duration = Duration::from_secs(2);

/// What somebody asks about.
#[derive(Debug)]
struct Asked {
    /// The functions; none for all.
    functions: BTreeSet<Address>,
    /// Whether it is root, who may know what is in root's files.
    root: bool,
    /// Where the answer goes.
    reply: Reply,
}

impl Asked {
    fn waits(&self) -> bool {
        !self.reply.is_closed()
    }
}

/// The checks that were asked for.
#[derive(Default)]
pub(super) struct Checks {
    survey: Option<Checking>,
    /// Whom the survey that is under way is for.
    served: Vec<Asked>,
    /// Those who came after it began.
    later: Vec<Asked>,
    /// When vfiod itself wants to know.
    due: Option<Time>,
    /// When the first and the last thing happened of which no survey knows.
    unrest: Option<(Time, Time)>,
    /// When the last survey ended.
    ended: Option<Time>,
    /// Why it failed, as it was told.
    trouble: Option<String>,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").field("served", &self.served).field("later", &self.later).finish_non_exhaustive()
    }
}

impl Checks {
    /// Notes that something has happened by which what a survey says may have changed.
    pub(super) fn want(&mut self, now: Time) {
        let first = self.unrest.map_or(now, |(first, _)| first);
        self.unrest = Some((first, now));
    }

    /// Notes that a survey is wanted at that time, or earlier.
    pub(super) fn want_at(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the next survey begins that nobody else asks for.
    pub(super) fn due(&self) -> Option<Time> {
        let settled = self.unrest.map(|(first, last)| {
            let quiet = (last + SETTLED).min(first + APART);
            self.ended.map_or(quiet, |ended| quiet.max(ended + APART))
        });
        let others = || self.later.iter().any(|asked| !asked.root && asked.waits());
        let paced = self.ended.filter(|_| others()).map(|ended| ended + PACED);
        [settled, self.due, paced].into_iter().flatten().min().filter(|_| self.survey.is_none())
    }

    /// What the survey that is under way has found; never anything when none is. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Report, String> {
        match &mut self.survey {
            Some(survey) => survey.await,
            None => std::future::pending().await,
        }
    }
}

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    pub(super) fn check(&mut self, functions: BTreeSet<Address>, uid: u32, reply: Reply) {
        self.checks.later.retain(Asked::waits);
        self.checks.later.push(Asked { functions, root: uid == 0, reply });
        self.survey();
    }

    /// Begins a survey, if somebody waits for one, or it is due, and none is under way.
    pub(super) fn survey(&mut self) {
        let now = self.host.now();
        let checks = &mut self.checks;
        if self.keeper.desired.entries.is_empty() {
            (checks.due, checks.unrest) = (None, None);
        }
        let due = checks.due().is_some_and(|due| due <= now);
        let first = checks.ended.is_none();
        let wanted = due || checks.later.iter().any(|asked| asked.waits() && (asked.root || first));
        if wanted && checks.survey.is_none() {
            (checks.due, checks.unrest) = (None, None);
            checks.served = std::mem::take(&mut checks.later);
            checks.survey = Some(self.host.check());
        }
    }

    pub(super) fn note_survey(&mut self, surveyed: Result<Report, String>) {
        let wanted = self.status.iter().flat_map(|status| &status.devices);
        let wanted = wanted.map(|(address, device)| (*address, device.wanted.clone())).collect();
        let surveyed = &surveyed.map(|report| report.beside(&wanted));
        self.checks.survey = None;
        self.checks.ended = Some(self.host.now());
        self.learn_concerns(surveyed);
        let failed = |why: &String| Refusal::Failed(why.clone());
        for Asked { functions, root, reply } in std::mem::take(&mut self.checks.served) {
            if !reply.is_closed() {
                let report = surveyed.as_ref().map_err(failed);
                let _ = reply.send(report.and_then(|report| about(report, &functions, root)).map(Answer::Text));
            }
        }
        self.survey();
    }

    /// Takes over what a survey says of the machine and what is declared.
    fn learn_concerns(&mut self, surveyed: &Result<Report, String>) {
        let now = self.host.now();
        let (Some(last), Some(status)) = (&self.last, &self.status) else { return };
        let declared = self.keeper.kept_objects(last);
        // What happened meanwhile may be half in it; the next one is due already.
        if declared.is_empty() || self.checks.unrest.is_some() {
            return;
        }
        let trouble = surveyed.as_ref().err().cloned();
        if let Some(why) = trouble.as_ref().filter(|why| self.checks.trouble.as_ref() != Some(why)) {
            self.tell.tell(Told::Unchecked { why: why.clone() });
        }
        self.checks.trouble = trouble;
        if let Ok(report) = surveyed {
            let concerns = Concerns::of(report, &declared);
            let known = &mut self.keeper.memory.concerns;
            if *known != concerns {
                self.verdicts.extend(concerns.news(known, status));
                *known = concerns;
                self.shown = None;
                self.pulse.ask(now);
            }
        }
        let unsure = surveyed.is_err() || self.keeper.memory.concerns.block();
        self.checks.want_at(now + if unsure { WHILE_BLOCKED } else { AT_REST });
    }
}

/// What of a report is about these functions, their groups and the host; for others than root without
/// what only root may read.
fn about(report: &Report, functions: &BTreeSet<Address>, root: bool) -> Result<String, Refusal> {
    if let Some(absent) = functions.iter().find(|address| !report.devices.contains_key(address)) {
        return Err(Refusal::NoSuchObject { what: format!("PCI function {absent}"), near: Vec::new() });
    }
    let mut report = report.clone();
    if !functions.is_empty() {
        report = report.about(functions);
    }
    if !root {
        report = report.for_everybody();
    }
    serde_json::to_string(&report).map_err(|error| Refusal::Failed(error.to_string()))
}
