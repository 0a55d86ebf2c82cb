//! Calls that are answered after a pass, or when each device that they mean is settled.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;

use super::notify::Notify;
use super::store::Store;
use super::tell::Tell;
use super::watch::Watch;
use crate::bus::call::{Answer, Refusal};
use crate::host::port::Host;
use crate::model::keeper::{Meant, Pass};
use crate::model::pci::{Address, Module};
use crate::model::plan::{About, Plan};
use crate::model::plan_view::PlanView;
use crate::model::state::State;
use crate::model::status::Status;
use crate::model::time::Time;

/// How long after the deadline of a write its outcome is still waited for.
const GRACE: Duration = Duration::from_secs(1);

/// How often a plan is worth a pass of its own, for anybody but root: whoever may ask is not limited.
const PLANNED: Duration = Duration::from_secs(1);

pub(super) type Reply = oneshot::Sender<Result<Answer, Refusal>>;

/// A call that is answered after a pass.
#[derive(Debug)]
pub(super) enum Waiting {
    /// After any pass.
    Pass(Reply),
    /// In any pass, before it acts.
    Plan(Reply),
    /// When nothing is at work any more on what this hold is on, or it is late.
    Held { id: u64, answer: Answer, reply: Reply },
    /// When these are settled, or it is late.
    Settled { meant: Meant, late: Time, reply: Reply },
}

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    pub(super) fn wait_for_pass(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
        self.pulse.ask(self.host.now());
    }

    pub(super) fn wait_for_settling(&mut self, meant: Meant, reply: Reply) {
        let now = self.host.now();
        // A load, and the bind after it.
        let late = now + self.settings.policy.deadline * 2 + GRACE;
        self.glances.clear();
        self.wait_for_pass(Waiting::Settled { meant, late, reply });
    }

    /// Waits for the plan of the next pass, which comes at once if none was made for a plan just now.
    pub(super) fn wait_for_plan(&mut self, uid: u32, reply: Reply) {
        let now = self.host.now();
        let at = self.planned.filter(|_| uid != 0).map_or(now, |planned| now.max(planned + PLANNED));
        // Those who have gone meanwhile do not add up.
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::Plan(reply) if reply.is_closed()));
        self.waiting.push(Waiting::Plan(reply));
        match uid {
            0 => self.pulse.ask(at),
            // Whoever may ask is not to have the whole machine looked through again and again.
            _ => self.pulse.ask_for_plan(at),
        }
    }

    /// Whether anybody waits for a plan.
    pub(super) fn is_asked_for_plan(&self) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Plan(_)))
    }

    /// Answers who waited for a plan, with that of this pass. It acts all the same: a pass that would
    /// not could be asked for without end, and then nothing would ever be repaired.
    pub(super) fn answer_plans(&mut self, plan: &Plan) {
        let is_plan = |waiting: &mut Waiting| matches!(waiting, Waiting::Plan(_));
        let asked: Vec<Waiting> = self.waiting.extract_if(.., is_plan).collect();
        if asked.is_empty() {
            return;
        }
        self.planned = Some(self.host.now());
        let view = PlanView::of(plan, self.settings.policy.mode, self.host.clock());
        let text = serde_json::to_string(&view).map_err(|error| Refusal::Failed(error.to_string()));
        for waiting in asked {
            if let Waiting::Plan(reply) = waiting {
                let _ = reply.send(text.clone().map(Answer::Text));
            }
        }
    }

    /// Answers who waited for this pass.
    pub(super) fn answer(&mut self, pass: &Pass<'_>, plan: &Plan, status: &Status) {
        let now = self.host.now();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Pass(reply) => drop(reply.send(Ok(Answer::Done))),
                Waiting::Settled { meant, late, reply } => {
                    match self.settled(pass, plan, status, &meant, now >= late) {
                        Some(results) => drop(reply.send(Ok(Answer::Results(results)))),
                        None if reply.is_closed() => {}
                        None => {
                            self.pulse.ask(late);
                            self.waiting.push(Waiting::Settled { meant, late, reply });
                        }
                    }
                }
                Waiting::Held { id, answer, reply } => self.grant(id, answer, reply),
                other @ Waiting::Plan(_) => self.waiting.push(other),
            }
        }
    }

    /// What became of each, once none of them is being worked on, nor about to be, as where events have
    /// not ended yet; or when it is late.
    fn settled(
        &self,
        pass: &Pass<'_>,
        plan: &Plan,
        status: &Status,
        meant: &Meant,
        late: bool,
    ) -> Option<Vec<(String, String)>> {
        let held: BTreeSet<&About> =
            plan.held.iter().filter(|held| held.guard.is_some()).map(|held| &held.about).collect();
        let busy = |address: &Address| match status.devices.get(address).map(|device| device.standing.state) {
            Some(State::Drifted | State::Repairing) => true,
            Some(State::Released) => {
                self.keeper.is_being_given_back(pass, *address) && !held.contains(&About::Device(*address))
            }
            _ => false,
        };
        let loading = |module: &Module| {
            status.modules.get(module).is_some_and(|module| {
                !module.state.serves() && !module.blocked && !module.stuck && module.failures == 0
            }) && !held.contains(&About::Module(module.clone()))
        };
        // A word from before the attempt would be taken for what came of it.
        let before = self.pulse.disturbed().is_some() || self.keeper.is_worked_on(pass.snapshot, meant);
        if !late && (before || meant.devices.iter().any(busy) || meant.modules.iter().any(loading)) {
            return None;
        }
        let say = |word: &str, reason: &str| {
            if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") }
        };
        let mut results = Vec::new();
        for module in &meant.modules {
            let status = status.modules.get(module);
            results.push((
                module.to_string(),
                status.map_or_else(|| "absent".to_owned(), |module| say(module.state.as_str(), &module.reason)),
            ));
        }
        for address in &meant.devices {
            let standing = status.devices.get(address).map(|device| &device.standing);
            let word = standing.map_or_else(|| "missing".to_owned(), |it| say(it.state.as_str(), &it.reason));
            results.push((address.to_string(), word));
        }
        // An entry of which nothing is there speaks for itself.
        for name in &meant.entries {
            let has_device = status.devices.values().any(|device| device.entry == *name);
            if let Some(standing) = status.entries.get(name).filter(|_| !has_device) {
                results.push((name.clone(), say(standing.state.as_str(), &standing.reason)));
            }
        }
        Some(results)
    }
}
