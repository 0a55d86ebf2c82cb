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

/// The functions that somebody asks about, none for all; and where the answer goes.
type Asked = (BTreeSet<Address>, Reply);

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
        [settled, self.due].into_iter().flatten().min().filter(|_| self.survey.is_none())
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
    pub(super) fn check(&mut self, functions: BTreeSet<Address>, reply: Reply) {
        self.checks.later.retain(|(_, reply)| !reply.is_closed());
        self.checks.later.push((functions, reply));
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
        let wanted = due || checks.later.iter().any(|(_, reply)| !reply.is_closed());
        if wanted && checks.survey.is_none() {
            (checks.due, checks.unrest) = (None, None);
            checks.served = std::mem::take(&mut checks.later);
            checks.survey = Some(self.host.check());
        }
    }

    pub(super) fn note_survey(&mut self, surveyed: &Result<Report, String>) {
        self.checks.survey = None;
        self.checks.ended = Some(self.host.now());
        self.learn_concerns(surveyed);
        for (functions, reply) in std::mem::take(&mut self.checks.served) {
            if !reply.is_closed() {
                let _ = reply.send(surveyed.as_ref().map_err(|why| Refusal::Failed(why.clone())).and_then(|report| {
                    let text = about(report, &functions)?;
                    Ok(Answer::Text(text))
                }));
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

/// What of a report is about these functions, their groups and the host.
fn about(report: &Report, functions: &BTreeSet<Address>) -> Result<String, Refusal> {
    if let Some(absent) = functions.iter().find(|address| !report.devices.contains_key(address)) {
        return Err(Refusal::NoSuchObject { what: format!("PCI function {absent}"), near: Vec::new() });
    }
    let text = match functions.is_empty() {
        true => serde_json::to_string(report),
        false => serde_json::to_string(&report.clone().about(functions)),
    };
    text.map_err(|error| Refusal::Failed(error.to_string()))
}
